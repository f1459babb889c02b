//! What is held of one release, and who else has how much of it.

use ares_core::chunk::{ChunkId, ReleaseId};
use ares_node::api::{PeerStatus, ReleaseStatus};
use serde_json::{Value, json};

use super::lists::{self, Keep, List};
use super::status::look;
use crate::admin::codec::REPLY_BYTES_MAX;
use crate::admin::proto::Outcome;
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::{Failure, Kind};
use crate::survey::survey;

/// The one list of the answer: some thousand peers.
const PEERS: List = List::new("peers", Keep::First, 600 << 10);
const _: () = assert!(List::bytes_max_of(&[PEERS]) + (100 << 10) < REPLY_BYTES_MAX);

/// `which`: the release's name, or the first digits of its hash.
pub(super) fn run(daemon: &Shared, which: &str, cancel: &Cancel) -> Result<Outcome, Failure> {
    let status = look(daemon)?;
    let known = find(&status.releases, which)?;
    let release = ChunkId::from_hex(&known.release)
        .map(ReleaseId)
        .expect("a status names releases in hex");
    let survey = survey(daemon.handle.store(), release, cancel)?;
    let peers: Vec<Value> = status.peers.iter().filter_map(|peer| holding(peer, known)).collect();
    let failed = |e: serde_json::Error| Failure::new(Kind::Failed, format!("the answer cannot be written as JSON: {e}"));
    let mut content = serde_json::to_value(known).map_err(failed)?;
    if let (Value::Object(content), Value::Object(survey)) = (&mut content, serde_json::to_value(survey).map_err(failed)?) {
        content.extend(survey);
        content.insert("peers".into(), peers.into());
        lists::bound(content, &[PEERS]);
    }
    Ok(Outcome::Content { content })
}

/// What the peer says it has of the release, if anything.
fn holding(peer: &PeerStatus, release: &ReleaseStatus) -> Option<Value> {
    let claim = peer.releases.iter().find(|claim| claim.release == release.release)?;
    Some(json!({
        "peer": peer.peer,
        "state": claim.state,
        "chunks_told": claim.chunks_told,
        "fetched_bytes": claim.fetched_bytes,
    }))
}

fn find<'a>(releases: &'a [ReleaseStatus], which: &str) -> Result<&'a ReleaseStatus, Failure> {
    /// Of those that may be meant, how many are named.
    const NAMED_MAX: usize = 5;
    let is_meant = |known: &&ReleaseStatus| known.name == which || known.release.starts_with(which);
    let meant: Vec<&ReleaseStatus> = releases.iter().filter(is_meant).collect();
    match meant[..] {
        [one] => Ok(one),
        [] => Err(
            Failure::new(Kind::NotFound, format!("no release in the store is called {which:?}"))
                .help("`ares content` lists them; give the first digits of one, its name or its link"),
        ),
        _ => {
            let named: Vec<&str> = meant.iter().take(NAMED_MAX).map(|known| &known.release[..16]).collect();
            let message = format!("{which:?} may be any of {} releases", meant.len());
            Err(Failure::new(Kind::Usage, message).help(format!("give more digits, as in {}", named.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_name_or_first_digits_and_only_if_it_is_one() {
        let release = |digits: &str, name: &str| ReleaseStatus {
            release: format!("{digits:0<64}"),
            name: name.to_owned(),
            complete: true,
            pinned: false,
            bytes: 1,
            entries: 1,
            seen_chunks: None,
            seen_bytes: None,
            fetched_bytes: 0,
            peers_complete: 0,
            peers_partial: 0,
        };
        let all = [release("ab12", "v1"), release("ab34", "v2"), release("cd", "v2")];
        let check = |which: &str, expect: Result<&str, Kind>| {
            let found = find(&all, which)
                .map(|known| &known.release[..4])
                .map_err(|failure| failure.kind);
            assert_eq!(found, expect, "{which}");
        };
        check("ab1", Ok("ab12"));
        check("v1", Ok("ab12"));
        check(&all[2].release, Ok("cd00"));
        check("ab", Err(Kind::Usage));
        check("v2", Err(Kind::Usage));
        check("ef", Err(Kind::NotFound));
    }
}

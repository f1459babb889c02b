//! What is going on: the node's status with what only control knows. Its lists are bounded, so that it fits a reply whatever there is of
//! peers, releases and mounts: what is left out is counted.

use ares_core::knobs::Knob;
use ares_core::store::QUOTA_BYTES_MAX;
use ares_fs::{Eio, LastEio};
use ares_node::api::Status;
use serde_json::{Map, Value, json};

use super::lists::{self, Keep, List};
use crate::admin::codec::REPLY_BYTES_MAX;
use crate::admin::proto::{Outcome, Raw};
use crate::daemon::Shared;
use crate::error::{Failure, Kind};

/// The lists, which of their entries are kept, and bytes of each as JSON: some thousand releases, some hundred peers with a path each.
const LISTS: [List; 7] = [
    List::new("listen", Keep::First, 40 << 10),
    List::new("releases", Keep::Last, 180 << 10),
    List::new("mounts", Keep::First, 180 << 10),
    List::new("pins", Keep::First, 80 << 10),
    List::new("peers", Keep::First, 300 << 10),
    List::new("away", Keep::First, 60 << 10),
    List::new("dropped", Keep::Last, 60 << 10),
];

/// Of what one peer says it has, so that a few that have much do not take the place of all others.
const CLAIMS: List = List::new("releases", Keep::First, 16 << 10);

/// Characters of a path, or of a reason, in an answer of EIO.
const EIO_CHARS_MAX: usize = 1000;

// The rest is numbers, two paths and one answer of EIO.
const _: () = assert!(List::bytes_max_of(&LISTS) + (100 << 10) < REPLY_BYTES_MAX);

pub(super) fn run(daemon: &Shared) -> Result<Outcome, Failure> {
    whole(daemon).map(|status| Outcome::Status { status })
}

/// As `ares status --json` prints it.
pub(crate) fn whole(daemon: &Shared) -> Result<Value, Failure> {
    let failed = |e: serde_json::Error| Failure::new(Kind::Failed, format!("the status cannot be written as JSON: {e}"));
    let mut status = serde_json::to_value(look(daemon)?).map_err(failed)?;
    let mounts = daemon.mounts.list();
    let last_eio = mounts.iter().filter_map(|(dir, entry)| Some((dir, entry.mount.last_eio()?)));
    let last_eio = last_eio.max_by_key(|(_, last)| last.at).map(|(dir, last)| {
        let mut shown = eio(&last);
        shown["dir"] = json!(Raw::from(dir.as_path()));
        shown
    });
    let mounts = mounts.iter().map(|(dir, entry)| {
        let names = entry
            .names
            .iter()
            .map(|(name, release)| json!({"name": Raw(name.clone()), "release": release}));
        let names: Vec<Value> = names.collect();
        let oldest_wait_s = entry.mount.longest_wait().as_secs_f64();
        json!({"dir": Raw::from(dir.as_path()), "release": entry.release, "name": entry.name, "names": names, "why": null, "oldest_wait_s": oldest_wait_s,
            "last_eio": entry.mount.last_eio().as_ref().map(eio)})
    });
    // What is to be mounted again, and why it is not yet.
    let absent = daemon.mounts.absent().into_iter().map(|(dir, absent)| {
        let why = absent.why.unwrap_or_else(|| "it is being mounted".to_owned());
        json!({"dir": Raw::from(dir.as_path()), "release": null, "name": absent.kept.how.name, "names": [], "why": why, "oldest_wait_s": 0.0, "last_eio": null})
    });
    let mounts: Vec<Value> = mounts.chain(absent).collect();
    if let Value::Object(fields) = &mut status {
        fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        fields.insert("pid".into(), std::process::id().into());
        fields.insert("state".into(), daemon.config.state.to_string_lossy().into());
        fields.insert("config".into(), daemon.config.file.to_string_lossy().into());
        let http = daemon.http.get().map(ToString::to_string);
        fields.insert("http".into(), http.into());
        if let Some(store) = fields.get_mut("store").and_then(Value::as_object_mut) {
            let quota = daemon.handle.settings().bytes(Knob::StoreQuota);
            store.insert(
                "quota_bytes".into(),
                Some(quota).filter(|quota| *quota < QUOTA_BYTES_MAX).into(),
            );
        }
        fields.insert("schedule".into(), daemon.times.shown());
        fields.insert("mounts".into(), mounts.into());
        fields.insert("last_eio".into(), last_eio.into());
        fields.insert("pins".into(), serde_json::to_value(daemon.pins.list()).map_err(failed)?);
        bound(fields);
    }
    Ok(status)
}

/// An answer of EIO: when, to what, why. What is long in it is cut, as there may be one a mount.
fn eio(last: &LastEio) -> Value {
    let Eio {
        request,
        entry,
        chunk,
        why,
    } = &last.eio;
    let cut = |text: &str| text.chars().take(EIO_CHARS_MAX).collect::<String>();
    json!({"ago_s": last.at.elapsed().as_secs_f64(), "request": request, "entry": cut(entry),
        "chunk": chunk.map(|chunk| chunk.to_string()), "why": cut(why)})
}

/// The node's own status.
pub(super) fn look(daemon: &Shared) -> Result<Status, Failure> {
    let status = daemon.handle.status();
    status.map_err(|e| Failure::new(Kind::Interrupted, e.to_string()))
}

/// Cuts what is listed so that it fits a reply.
fn bound(status: &mut Map<String, Value>) {
    for peer in status.get_mut("peers").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(peer) = peer {
            lists::bound(peer, &[CLAIMS]);
        }
    }
    lists::bound(status, &LISTS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::codec::{Decoder, encode_reply};
    use crate::admin::proto::Reply;

    #[test]
    fn a_status_fits_a_reply_whatever_there_is() {
        let release = |n: usize| json!({"release": format!("{n:064}"), "name": "\u{1}".repeat(1000), "complete": true});
        let paths = vec![json!({"path": u64::MAX, "remote": "[ffff::ffff]:65535", "rtt_ms": 0.123456789}); 20];
        let peer = |n: usize| json!({"peer": format!("{n:064}"), "paths": paths});
        let many: Vec<Value> = (0..20_000).map(release).collect();
        let status = json!({
            "listen": vec!["[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"; 100_000],
            "releases": many,
            "pins": vec![json!({"why": "\u{1}".repeat(100)}); 1000],
            "mounts": vec![json!({"dir": {"hex": "ff".repeat(4096)}}); 1000],
            "peers": (0..20_000).map(peer).collect::<Vec<_>>(),
            "counters": {"served_bytes": u64::MAX},
        });
        let Value::Object(mut fields) = status else {
            panic!("an object")
        };
        bound(&mut fields);
        let count = |fields: &Map<String, Value>, name: &str| {
            let listed = fields[name].as_array().map_or(0, Vec::len) as u64;
            (listed, fields["left_out"][name].as_u64().unwrap_or(0))
        };
        for (name, total) in [
            ("listen", 100_000),
            ("releases", 20_000),
            ("pins", 1000),
            ("mounts", 1000),
            ("peers", 20_000),
        ] {
            let (listed, left_out) = count(&fields, name);
            assert!(listed > 20 && listed + left_out == total, "{name}: {listed} and {left_out}");
        }
        assert_eq!(
            fields["releases"].as_array().and_then(|list| list.last()),
            Some(&release(19_999)),
            "the newest"
        );
        let reply = Reply::Done {
            ok: Outcome::Status { status: fields.into() },
        };
        let mut decoder = Decoder::default();
        decoder.on_bytes(&encode_reply(&reply).0);
        assert_eq!(decoder.reply(), Ok(Some(reply)));

        let claims: Vec<Value> = (0..512).map(release).collect();
        let Value::Object(mut fields) = json!({"peers": [{"peer": "aa", "releases": claims}, {"peer": "bb"}]}) else {
            panic!("an object")
        };
        bound(&mut fields);
        let greedy = fields["peers"][0].as_object().expect("an object");
        let (listed, left_out) = count(greedy, "releases");
        assert!(
            listed > 0 && left_out > 0 && listed + left_out == 512,
            "{listed} and {left_out}"
        );
        assert_eq!(count(&fields, "peers"), (2, 0), "it takes nobody's place");

        let Value::Object(mut few) = json!({"listen": [], "releases": [release(1)], "mounts": [], "peers": []}) else {
            panic!("an object")
        };
        bound(&mut few);
        assert_eq!(count(&few, "releases"), (1, 0));
    }
}

//! Who may what: roles of keys, and releases that are for some alone. Knows no connection.

use std::collections::{BTreeMap, BTreeSet};

use crate::chunk::ReleaseId;
use crate::peer::PeerId;

/// What a peer may here. Each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is served what is here.
    Reader,
    /// An edge fetches for it what it has not.
    Edge,
    /// Its word that it has a release is reason enough for an edge to fetch that for others.
    Publisher,
    /// Every release is for it, and a stop of everybody leaves it out.
    Admin,
}

impl Role {
    /// In order.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Edge, Self::Publisher, Self::Admin];

    /// As the config file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Edge => "edge",
            Self::Publisher => "publisher",
            Self::Admin => "admin",
        }
    }
}

/// Which keys are spoken with, whoever opens the connection, and which releases are for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Of these keys.
    pub roles: BTreeMap<PeerId, Role>,
    /// Of all others; `None`: they are not spoken with.
    pub others: Option<Role>,
    /// These are not spoken with, whatever their role.
    pub block: BTreeSet<PeerId>,
    /// Nobody is, but for admins.
    pub is_stopped: bool,
    /// These releases are for these keys alone, and for admins.
    pub releases: BTreeMap<ReleaseId, BTreeSet<PeerId>>,
}

/// Of an open swarm: everybody is served and fetched for.
impl Default for Access {
    fn default() -> Self {
        Self {
            roles: BTreeMap::new(),
            others: Some(Role::Edge),
            block: BTreeSet::new(),
            is_stopped: false,
            releases: BTreeMap::new(),
        }
    }
}

impl Access {
    /// What the key may; `None` where it is not spoken with.
    pub fn role_of(&self, peer: &PeerId) -> Option<Role> {
        let role = self.roles.get(peer).copied().or(self.others)?;
        let is_out = self.block.contains(peer) || self.is_stopped && role < Role::Admin;
        (!is_out).then_some(role)
    }

    /// Whether it has that role or one that includes it.
    pub fn is(&self, peer: &PeerId, role: Role) -> bool {
        self.role_of(peer).is_some_and(|has| has >= role)
    }

    /// Whether the release is for it.
    pub fn may_have(&self, peer: &PeerId, release: &ReleaseId) -> bool {
        let is_named = self.releases.get(release).is_none_or(|named| named.contains(peer));
        is_named || self.is(peer, Role::Admin)
    }

    /// Keys whose word is reason enough to fetch a release for others.
    pub fn publishers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.roles.keys().copied().filter(|peer| self.is(peer, Role::Publisher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    /// Keys 1 to 4 with the roles in order, 5 with none.
    fn access(others: Option<Role>) -> Access {
        Access {
            roles: Role::ALL
                .into_iter()
                .enumerate()
                .map(|(n, role)| (peer(n as u8 + 1), role))
                .collect(),
            others,
            ..Access::default()
        }
    }

    #[test]
    fn each_role_may_what_those_before_it_may_and_strangers_what_others_may() {
        let check = |access: &Access, expect: [usize; 5]| {
            for (n, count) in (1..).zip(expect) {
                let has: Vec<Role> = Role::ALL.into_iter().filter(|role| access.is(&peer(n), *role)).collect();
                assert_eq!(has, Role::ALL[..count], "key {n}");
            }
        };
        check(&Access::default(), [2; 5]);
        check(&access(None), [1, 2, 3, 4, 0]);
        check(&access(Some(Role::Reader)), [1, 2, 3, 4, 1]);
        let mut blocked = access(None);
        blocked.block = [2, 4].map(peer).into();
        check(&blocked, [1, 0, 3, 0, 0]);
        let mut stopped = access(Some(Role::Edge));
        stopped.is_stopped = true;
        check(&stopped, [0, 0, 0, 4, 0]);
        assert_eq!(access(None).publishers().collect::<Vec<_>>(), [3, 4].map(peer));
    }

    #[test]
    fn a_release_that_is_for_some_is_for_them_and_for_admins() {
        let [limited, other] = [b"a", b"b"].map(|name| ReleaseId(ChunkId::of(name)));
        let mut access = access(Some(Role::Reader));
        access.releases.insert(limited, [peer(1), peer(5)].into());
        let may = |release| [1, 2, 3, 4, 5, 6].map(|n| access.may_have(&peer(n), &release));
        assert_eq!(may(limited), [true, false, false, true, true, false]);
        assert_eq!(may(other), [true; 6]);
    }
}

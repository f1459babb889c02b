//! What a config file says of who may what, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use ares_core::admission::{Access, Role};
use ares_core::chunk::ReleaseId;
use ares_core::peer::PeerId;

/// Keys, or all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Whoever it is, written `"any"`.
    Any,
    /// These.
    These(Vec<PeerId>),
}

/// The table `access`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessTable {
    /// Who has which role.
    pub(crate) roles: BTreeMap<Role, Keys>,
    pub(crate) block: Option<Keys>,
    /// Releases that are for some keys alone.
    pub(crate) releases: BTreeMap<ReleaseId, BTreeSet<PeerId>>,
}

impl AccessTable {
    /// A key that has several roles has the one that may most. Where any role is given, who has none is not spoken with.
    pub(crate) fn resolve(self) -> Access {
        let Self { roles, block, releases } = self;
        let mut access = Access {
            others: roles.is_empty().then_some(Role::Edge),
            releases,
            ..Access::default()
        };
        // In their order: the last one counts.
        for (role, keys) in roles {
            match keys {
                Keys::Any => access.others = Some(role),
                Keys::These(keys) => access.roles.extend(keys.into_iter().map(|key| (key, role))),
            }
        }
        // Whoever is named may no less than those who are not.
        if let Some(others) = access.others {
            access.roles.values_mut().for_each(|role| *role = (*role).max(others));
        }
        match block {
            Some(Keys::Any) => access.is_stopped = true,
            Some(Keys::These(keys)) => access.block = keys.into_iter().collect(),
            None => {}
        }
        access
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn the_greatest_role_counts_and_who_has_none_is_a_stranger_where_there_are_any() {
        let roles = |rows: &[(Role, Keys)]| AccessTable {
            roles: rows.iter().cloned().collect(),
            ..AccessTable::default()
        };
        let these = |keys: &[u8]| Keys::These(keys.iter().copied().map(key).collect());
        let check = |table: AccessTable, expect: [Option<Role>; 3]| {
            let access = table.resolve();
            assert_eq!([1, 2, 3].map(|n| access.role_of(&key(n))), expect);
        };
        check(AccessTable::default(), [Some(Role::Edge); 3]);
        let named = [(Role::Reader, these(&[1, 2])), (Role::Admin, these(&[2]))];
        check(roles(&named), [Some(Role::Reader), Some(Role::Admin), None]);
        let open = [(Role::Reader, Keys::Any), (Role::Edge, these(&[1]))];
        check(roles(&open), [Some(Role::Edge), Some(Role::Reader), Some(Role::Reader)]);
        let more = [(Role::Reader, these(&[1])), (Role::Edge, Keys::Any)];
        check(roles(&more), [Some(Role::Edge); 3]);
        let mut stopped = roles(&named);
        stopped.block = Some(Keys::Any);
        check(stopped, [None, Some(Role::Admin), None]);
    }
}

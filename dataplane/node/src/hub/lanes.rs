//! The machine's lanes and the operator's rules for them, each as it changes: which are to be used, what they may carry, and which paths end.

use ares_core::path::{Lane, LaneLost, LaneRules};
use ares_core::peer::PathId;
use ares_core::time::Instant;

use super::{Hub, Path};
use crate::figures::Loss;
use crate::mailbox::{CloseReason, End, ToShard};
use crate::pacer::Pacers;

impl Hub {
    /// The machine has these lanes now.
    pub(super) fn on_machine_lanes(&mut self, now: Instant, lanes: Vec<Lane>) {
        let chosen = self.parts.config.lanes.choose(lanes.clone());
        self.machine_lanes = lanes;
        self.on_lanes(now, chosen);
    }

    /// Other lanes are to be used now, or count and may carry something else.
    pub(super) fn on_lane_rules(&mut self, now: Instant, rules: LaneRules) {
        let before = std::mem::replace(&mut self.parts.config.lanes, rules);
        let rules = &self.parts.config.lanes;
        let is_choice_new = (&before.include, &before.exclude) != (&rules.include, &rules.exclude);
        let are_weights_new = before.weights != rules.weights;
        if is_choice_new {
            self.on_lanes(now, rules.choose(self.machine_lanes.clone()));
        } else {
            self.pace();
        }
        if are_weights_new {
            self.open_paths().into_iter().for_each(|path| self.tell_way(now, path));
        }
    }

    /// Paths from lanes that are gone would be silent until they time out.
    fn on_lanes(&mut self, now: Instant, lanes: Vec<Lane>) {
        self.settle_interfaces();
        self.dialer.on_lanes(now, &lanes);
        self.addresses
            .on_own(lanes.iter().filter(|lane| lane.is_up).map(|lane| lane.ip).collect());
        self.lanes = lanes;
        self.pace();
        let lost = |path: &Path| {
            let lane = path.lane.as_ref()?;
            let lost = lane.lost(&self.lanes)?;
            let is_there = lane.lost(&self.machine_lanes).is_none();
            Some(if is_there {
                LaneLost::LeftOut {
                    ip: lane.ip,
                    interface: lane.name.clone(),
                }
            } else {
                lost
            })
        };
        let lost: Vec<(PathId, LaneLost)> = self.paths.iter().filter_map(|(id, path)| Some((*id, lost(path)?))).collect();
        for (path, why) in lost {
            let end = End::Because(why.to_string());
            self.send_path(path, |path| ToShard::Close {
                path,
                why: CloseReason::LaneLost(why),
            });
            self.on_path_down(now, path, &end, Loss::Lane);
        }
    }

    /// Tells the shards what lanes may carry and peers be sent.
    pub(super) fn pace(&self) {
        let pacers = Pacers::new(&self.parts.config.lanes, &self.lanes);
        for shard in &self.parts.shards {
            shard.send(ToShard::Pace(pacers.clone()));
        }
    }
}

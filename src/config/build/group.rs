//! Virtual routers that change state together.

use std::collections::HashMap;
use std::sync::Arc;

use buoy_vrrp::{GroupSettings, Target, Tracker};

use super::Build;
use super::tracking::Lists;
use crate::config::finding::Code;
use crate::config::plan::{Group, Notify, Router};
use crate::config::settings::{Instance, Settings, SyncGroup};

impl Build<'_> {
    /// Builds the groups, and folds what they track into their members.
    pub(super) fn groups(&mut self, settings: &Settings, routers: &mut [Router]) -> Vec<Group> {
        let g = &settings.global_defs;
        let mut group_of: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        let mut groups = Vec::new();
        for group in &settings.vrrp_sync_group {
            let members = self.members(group, routers, &mut group_of);
            let name = &group.name;
            let message = format!("`vrrp_sync_group {}` has no member", name.value);
            if members.is_empty() {
                self.warn(Code::MissingSetting, name.span, &message, "the group is dropped");
                continue;
            }
            if members.len() == 1 {
                let message = format!("`vrrp_sync_group {}` has one member only", name.value);
                self.warn(Code::Conflict, name.span, &message, "it is a group all the same");
            }
            let trackers = self.trackers(&Lists::from(group));
            self.fold(group, &members, &trackers, routers, &settings.vrrp_instance);
            self.owners(group, &members, routers);
            groups.push(Group {
                election: GroupSettings {
                    name: Arc::clone(&name.value),
                    members,
                    tracking_weight: group.sync_group_tracking_weight,
                },
                trackers,
                notify: Notify {
                    master: self.command_if(group.notify_master.as_ref()),
                    backup: self.command_if(group.notify_backup.as_ref()),
                    fault: self.command_if(group.notify_fault.as_ref()),
                    stop: self.command_if(group.notify_stop.as_ref()),
                    any: self.command_if(group.notify.as_ref()),
                    master_rx_lower_pri: None,
                },
                smtp_alert: group.smtp_alert.or(g.smtp_alert_vrrp).or(g.smtp_alert).unwrap_or(false),
            });
        }
        groups
    }

    fn members(
        &mut self,
        group: &SyncGroup,
        routers: &[Router],
        group_of: &mut HashMap<Arc<str>, Arc<str>>,
    ) -> Vec<Arc<str>> {
        let mut members: Vec<Arc<str>> = Vec::new();
        for member in &group.group {
            if !routers.iter().any(|r| *r.name() == member.value) {
                let known = routers.iter().map(|r| &**r.name());
                self.undefined(member, "vrrp_instance", "it is not in the group", known);
                continue;
            }
            if let Some(first) = group_of.get(&member.value) {
                let message = format!("`{}` is in the group `{first}` already", member.value);
                self.warn(Code::Duplicate, member.span, &message, "it stays in the first one");
                continue;
            }
            group_of.insert(Arc::clone(&member.value), Arc::clone(&group.name.value));
            members.push(Arc::clone(&member.value));
        }
        members
    }

    /// Members get the group's trackers; without `sync_group_tracking_weight` weights would tear a group apart.
    fn fold(
        &mut self,
        group: &SyncGroup,
        members: &[Arc<str>],
        trackers: &[Tracker],
        routers: &mut [Router],
        instances: &[Instance],
    ) {
        for router in routers.iter_mut().filter(|r| members.contains(r.name())) {
            let name = Arc::clone(router.name());
            // The entry of the instance, if it has one, else that of the group.
            let entry = |target: &Target| {
                let instance = instances.iter().find(|i| i.name.value == name);
                let own = instance.and_then(|i| Lists::from(i).span(target));
                own.or_else(|| Lists::from(group).span(target)).unwrap_or(group.name.span)
            };
            for tracker in trackers {
                if router.trackers.iter().any(|t| t.target == tracker.target) {
                    let message =
                        format!("{} is tracked by both `{}` and its group", tracker.target, router.name());
                    let span = Lists::from(group).span(&tracker.target).unwrap_or(group.name.span);
                    self.warn(Code::Duplicate, span, &message, "the instance's own entry counts");
                } else {
                    router.trackers.push(tracker.clone());
                }
            }
            if group.sync_group_tracking_weight {
                continue;
            }
            let weighted = |t: &Tracker| match t.target {
                Target::Interface(_) => t.weight != 0,
                // A file's weight of 1 is its default, which nobody wrote.
                Target::File(_) => !matches!(t.weight, 0 | 1),
                _ => t.weight != 0,
            };
            for tracker in router.trackers.iter().filter(|t| weighted(t)) {
                let message = format!(
                    "{} has a weight in `{}`, a member of a group without `sync_group_tracking_weight`",
                    tracker.target, router.election.name
                );
                let interface = matches!(tracker.target, Target::Interface(_));
                let assumed = if interface { "weight 0" } else { "it is not tracked" };
                self.warn(Code::Conflict, entry(&tracker.target), &message, assumed);
            }
            router.trackers.retain_mut(|tracker| {
                let file = matches!(tracker.target, Target::File(_));
                if matches!(tracker.target, Target::Interface(_)) || file && tracker.weight == 1 {
                    tracker.weight = 0;
                }
                tracker.weight == 0
            });
        }
    }

    fn owners(&mut self, group: &SyncGroup, members: &[Arc<str>], routers: &[Router]) {
        let mut ours =
            routers.iter().filter(|r| members.contains(r.name())).map(|r| r.election.priority.is_owner());
        let first = ours.next();
        if first.is_some_and(|first| ours.any(|other| other != first)) {
            let message =
                format!("`vrrp_sync_group {}` mixes owners (priority 255) with others", group.name.value);
            self.warn(Code::Conflict, group.name.span, &message, "it will not work well");
        }
    }
}

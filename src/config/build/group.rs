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
                self.leave_out(name);
                continue;
            }
            if members.len() == 1 {
                let message = format!("`vrrp_sync_group {}` has one member only", name.value);
                self.doubt(Code::Conflict, name.span, &message, "it is a group all the same");
            }
            let mut trackers = self.trackers(&Lists::from(group));
            if !group.sync_group_tracking_weight {
                self.unweighted(&name.value, &Lists::from(group), &mut trackers);
            }
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
                self.write_instead(member, &[]);
                continue;
            }
            if let Some(first) = group_of.get(&member.value) {
                let message = format!("`{}` is in the group `{first}` already", member.value);
                self.warn(Code::Duplicate, member.span, &message, "it stays in the first one");
                self.write_instead(member, &[]);
                continue;
            }
            group_of.insert(Arc::clone(&member.value), Arc::clone(&group.name.value));
            members.push(Arc::clone(&member.value));
        }
        members
    }

    /// Members get the group's trackers. Those of a group without `sync_group_tracking_weight` lose their weights, which
    /// would tear it apart.
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
            let instance = instances.iter().find(|i| i.name.value == name);
            if let Some(instance) = instance.filter(|_| !group.sync_group_tracking_weight) {
                self.unweighted(&name, &Lists::from(instance), &mut router.trackers);
            }
            for tracker in trackers {
                if router.trackers.iter().any(|t| t.target == tracker.target) {
                    let message = format!("{} is tracked by both `{name}` and its group", tracker.target);
                    let lists = Lists::from(group);
                    let name = lists.entry(&tracker.target).and_then(<[_]>::first);
                    let span = name.map_or(group.name.span, |name| name.span);
                    self.doubt(Code::Duplicate, span, &message, "the instance's own entry counts");
                } else {
                    router.trackers.push(tracker.clone());
                }
            }
        }
    }

    /// Takes the weights off what a group, or a member of it, tracks.
    fn unweighted(&mut self, of: &str, lists: &Lists<'_>, trackers: &mut Vec<Tracker>) {
        trackers.retain_mut(|tracker| {
            // A file's weight of 1 is its default, which nobody wrote.
            let unwritten = matches!(tracker.target, Target::File(_)) && tracker.weight == 1;
            let interface = matches!(tracker.target, Target::Interface(_));
            if tracker.weight != 0 && !unwritten {
                let message = format!(
                    "{} has a weight in `{of}`, of a group without `sync_group_tracking_weight`",
                    tracker.target
                );
                let entry = lists.entry(&tracker.target).unwrap_or_default();
                let name = entry.first();
                let assumed = if interface { "weight 0" } else { "it is not tracked" };
                self.warn(Code::Conflict, name.map(|name| name.span), &message, assumed);
                if interface {
                    let weights = entry.windows(2).filter(|pair| &*pair[0].value == "weight");
                    weights.for_each(|pair| self.write_instead(&pair[1], &["0"]));
                } else {
                    name.into_iter().for_each(|name| self.leave_out(name));
                }
            }
            if interface || unwritten {
                tracker.weight = 0;
            }
            tracker.weight == 0
        });
    }

    fn owners(&mut self, group: &SyncGroup, members: &[Arc<str>], routers: &[Router]) {
        let mut ours =
            routers.iter().filter(|r| members.contains(r.name())).map(|r| r.election.priority.is_owner());
        let first = ours.next();
        if first.is_some_and(|first| ours.any(|other| other != first)) {
            let message =
                format!("`vrrp_sync_group {}` mixes owners (priority 255) with others", group.name.value);
            self.doubt(Code::Conflict, group.name.span, &message, "it will not work well");
        }
    }
}

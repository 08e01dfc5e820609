//! From a configuration that is to be read again to the one that is in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buoy_vrrp::State;
use buoy_vrrp::driver::{Command, DriverHandle, Snapshot};
use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Daemon, ELECTION_PATIENCE, notify, notify_reloading, question, set_items};
use crate::api::Reply;
use crate::config::plan::{self, Plan};
use crate::config::{self, Loaded, Severity};
use crate::control::Service;
use crate::host::{HostConfig, Vmacs};
use crate::supervisor;
use crate::supervisor::balancing::Roles;
use crate::supervisor::host_thread::Follow;

/// A reload does not wait longer for the number of its changes to IPVS, and goes without: the loop has other work.
const PREVIEW_PATIENCE: Duration = Duration::from_millis(500);

impl Daemon {
    /// Begins to read the configuration again. Whoever `asked` hears how the reload went; the log has it too.
    pub(super) fn read_again(&mut self, asked: Option<mpsc::Sender<Reply>>) {
        notify_reloading();
        self.server.heal();
        let (path, args) = (self.path.clone(), self.args.clone());
        let marker = Marker::set(self.keyed.plan.global.reload_file.as_deref());
        self.reading.begin(asked, move || {
            let loaded = supervisor::load(&path, &args);
            drop(marker);
            loaded
        });
    }

    /// Goes over to the configuration that was read, or says why not.
    pub(super) async fn reload(&mut self, (read, asked): (Result<Loaded, String>, Vec<mpsc::Sender<Reply>>)) {
        let outcome = match read {
            Ok(loaded) => self.try_reload(loaded).await,
            Err(why) => Err(why),
        };
        let (Ok(message) | Err(message)) = &outcome;
        let when = jiff::Timestamp::now();
        self.last_reload = Some(format!("{message} ({when:.0})"));
        self.reload_refused = outcome.is_err();
        match &outcome {
            Ok(message) => tracing::info!("reload: {message}"),
            Err(message) => {
                tracing::error!("reload refused, the running configuration stays in force: {message}")
            }
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&self.summary())]);
        let reply = match outcome {
            Ok(message) => Reply::Done { message },
            Err(why) => Reply::Refused {
                message: format!("reload refused, the running configuration stays in force: {why}"),
            },
        };
        for replies in asked {
            // A client that went away does not want it any more.
            let _gone = replies.try_send(reply.clone());
        }
    }

    async fn try_reload(&mut self, loaded: Loaded) -> Result<String, String> {
        if let Some(log) = &self.keyed.plan.global.reload_check_config {
            let findings = config::for_people(&loaded.findings, &loaded.sources, false);
            if let Err(error) = std::fs::write(log, findings) {
                tracing::warn!(path = %log.display(), %error, "reload_check_config");
            }
        }
        supervisor::log_findings(&loaded);
        supervisor::save_copy(&loaded);
        let empty = loaded.is_empty();
        let Some(plan) = loaded.plan else {
            return Err(first_error(&loaded));
        };
        // keepalived runs with nothing to run too; but a file without a single statement is one that was being written
        // when it was read, or that a full disk has left behind.
        let runs = !self.keyed.plan.routers.is_empty() || !self.keyed.plan.services.is_empty();
        if empty && runs {
            return Err("the file is empty; to run nothing, stop the daemon".to_owned());
        }
        let now = &self.keyed.plan.global;
        if plan.global.net_namespace != now.net_namespace || plan.global.instance != now.instance {
            return Err("net_namespace and instance take a restart to change".to_owned());
        }
        if let Some(why) = self.balancing.objection(&plan) {
            return Err(why);
        }
        self.warnings = loaded.findings.count(Severity::Warning);
        self.alerts.apply(&plan);
        if plan == *self.keyed.plan && !self.balancing.lacks_threads(&plan) {
            return Ok("nothing changed".to_owned());
        }
        Ok(self.go_over(Arc::new(plan)).await)
    }

    /// Whatever fails here, the whole plan is in force afterwards: nothing keeps one half from going over.
    async fn go_over(&mut self, plan: Arc<Plan>) -> String {
        // Before any effect, for it waits.
        let changes = self.preview(&plan).await;
        let next = self.keyed.next(Arc::clone(&plan));
        let difference = self.keyed.difference(&next);
        let vmacs = Vmacs::of(&plan);
        let mut host = HostConfig::of(&plan, &vmacs);
        if difference.removed > 0 {
            // Routers that go still resign and hold on theirs; `forget_old_vmacs` follows.
            let leaving = Vmacs::of(&self.keyed.plan);
            let stays = |name: &Arc<str>| vmacs.specs().iter().any(|spec| spec.name == *name);
            host.vmacs.extend(leaving.specs().iter().filter(|spec| !stays(&spec.name)).cloned());
        }
        self.link.configure(host);
        for command in difference.commands {
            // One that has ended ends the daemon: see `run`.
            let _ended = self.election.tell(command);
        }
        set_items(&self.link, &next, &vmacs);
        self.tracked.apply(&plan);
        let virtual_servers = self.balance(&plan, changes);
        let follow = Follow { plan, vmacs, keys: next.keys.clone(), delay: Duration::ZERO };
        self.orders.follow(follow, difference.added.clone());
        let more = other_changes(&self.keyed.plan, &next.plan);
        let restart = restart_words(&self.keyed.plan, &next.plan);
        let restart = match restart.as_slice() {
            [] => String::new(),
            words => format!("; {} take a restart to change", words.join(", ")),
        };
        self.keyed = next;
        format!(
            "{} instances added, {} changed, {} removed{virtual_servers}{more}{restart}",
            difference.added.len(),
            difference.changed,
            difference.removed
        )
    }

    /// How many changes to IPVS the virtual servers of a plan come to, where that is known soon.
    async fn preview(&self, plan: &Plan) -> Option<usize> {
        let after = services_of(plan);
        if services_of(&self.keyed.plan) == after || !self.balancing.is_running() {
            return None;
        }
        let desk = self.balancing.desk();
        let preview = tokio::time::timeout(PREVIEW_PATIENCE, desk.preview(after)).await;
        Some(preview.ok()?.ok()?.len())
    }

    /// Goes over to the virtual servers of a plan; what that comes to, as a part of the sentence about a reload.
    fn balance(&mut self, plan: &Arc<Plan>, changes: Option<usize>) -> String {
        let failed = match self.balancing.follow(plan) {
            Ok(()) => String::new(),
            Err(error) => {
                tracing::error!("virtual servers: {error:#}; the next reload tries again");
                format!("; virtual servers do not run: {error:#}")
            }
        };
        let daemon = plan.balancing.sync_daemon.clone();
        let follow = follow_sync_role(self.election.clone(), self.balancing.roles(), daemon);
        // Ends the one for the plan before.
        self.sync_role = JoinSet::new();
        self.sync_role.spawn(follow);
        let count = plan.services.len();
        match changes {
            Some(changes) => format!("; {count} virtual servers, {changes} changes to IPVS{failed}"),
            None if self.keyed.plan.services != plan.services => {
                format!("; {count} virtual servers{failed}")
            }
            None => failed,
        }
    }

    /// A removed router holds nothing any more: virtual MACs that no other needs may go.
    pub(super) fn forget_old_vmacs(&self) {
        let plan = &self.keyed.plan;
        self.link.configure(HostConfig::of(plan, &Vmacs::of(plan)));
    }
}

/// The first error of a configuration, and how many more there are.
pub(super) fn first_error(loaded: &Loaded) -> String {
    let lines = config::lines(&loaded.findings, &loaded.sources);
    let mut errors = loaded.findings.iter().zip(lines).filter(|(f, _)| f.severity == Severity::Error);
    let first = errors.next().map_or_else(|| "the configuration cannot be used".to_owned(), |(_, line)| line);
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more: buoy check shows them)"),
    }
}

/// What else differs besides instances, as an end for the sentence about them.
fn other_changes(old: &Plan, new: &Plan) -> &'static str {
    let groups = old.groups != new.groups;
    // All fields are named, so that a new one cannot be forgotten.
    let Plan {
        global,
        routers: _,
        groups: _,
        scripts,
        files,
        processes,
        static_addresses,
        static_routes,
        static_rules,
        track_groups,
        garp_groups,
        link_delays,
        // Told apart.
        services: _,
        balancing,
    } = old;
    let others = *global != new.global
        || *scripts != new.scripts
        || *files != new.files
        || *processes != new.processes
        || *static_addresses != new.static_addresses
        || *static_routes != new.static_routes
        || *static_rules != new.static_rules
        || *track_groups != new.track_groups
        || *garp_groups != new.garp_groups
        || *link_delays != new.link_delays
        || *balancing != new.balancing;
    match (groups, others) {
        (false, false) => "",
        (true, false) => "; sync groups changed",
        (false, true) => "; other settings changed",
        (true, true) => "; sync groups and other settings changed",
    }
}

/// Words whose change shows only after a restart.
fn restart_words(before: &Plan, after: &Plan) -> Vec<&'static str> {
    let (old, new) = (&before.global, &after.global);
    let checkers = |plan: &Plan| plan.balancing.scheduling.clone();
    let (a, b) = (&old.scheduling, &new.scheduling);
    let changed = [
        (a.nice != b.nice, "vrrp_priority"),
        (a.rt_priority != b.rt_priority, "vrrp_rt_priority"),
        (a.no_swap != b.no_swap, "vrrp_no_swap"),
        (a.cpu_affinity != b.cpu_affinity, "vrrp_cpu_affinity"),
        (checkers(before) != checkers(after), "checker_priority and its relatives"),
        (old.umask != new.umask, "umask"),
        (old.log_format != new.log_format, "log_format"),
        (old.use_pid_dir != new.use_pid_dir, "use_pid_dir"),
    ];
    changed.into_iter().filter_map(|(changed, word)| changed.then_some(word)).collect()
}

/// Tells the sync daemon what the instance is that it follows from now on, whenever the election comes to say it.
async fn follow_sync_role(election: DriverHandle, roles: Roles, daemon: Option<plan::SyncDaemon>) {
    let instance = daemon.as_ref().and_then(|daemon| daemon.instance.as_ref());
    loop {
        let heard = roles.heard();
        let master = match instance {
            None => false,
            Some(name) => {
                // Asked once and waited for: questions that are given up would fill the queue of an election that is stuck.
                let Ok(mut answered) = question(&election, Command::Snapshot) else { return };
                let soon = tokio::time::timeout(ELECTION_PATIENCE, &mut answered).await;
                let answer = match soon {
                    Ok(answer) => answer,
                    Err(_elapsed) => {
                        tracing::error!("lvs_sync_daemon keeps its role: the election does not answer");
                        answered.await
                    }
                };
                // One that has ended ends the daemon.
                let Ok(Snapshot { routers, .. }) = answer else { return };
                routers.iter().any(|router| router.name == *name && router.state == State::Master)
            }
        };
        // It may have moved meanwhile.
        if roles.follow(daemon.as_ref(), master, heard) {
            return;
        }
    }
}

fn services_of(plan: &Plan) -> Vec<Arc<Service>> {
    plan.services.iter().map(|service| service.service.clone()).collect()
}

/// `reload_file`: there while the configuration is being read, so that whoever writes it can wait.
struct Marker(Option<PathBuf>);

impl Marker {
    fn set(path: Option<&Path>) -> Self {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, "")
        {
            tracing::warn!(path = %path.display(), %error, "reload_file");
        }
        Self(path.map(Path::to_owned))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Whoever waits for its end may have removed it.
            let _gone = std::fs::remove_file(path);
        }
    }
}

//! What alerts need of a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use buoy_vrrp::{Priority, State, Subject, Transition};

use super::subject::{self, Topic};
use crate::config::plan::{Command, Fifo, Mail, Notify, Plan, Webhook};

mod service;

pub(super) use service::{Label, Scripts, Services};

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) router_id: Arc<str>,
    pub(super) subjects: BTreeMap<Subject, SubjectSettings>,
    pub(super) services: Services,
    pub(super) mail: Mail,
    /// Those that are written, each path once.
    pub(super) fifos: Vec<FifoSettings>,
    pub(super) write_states_on_reload: bool,
    pub(super) webhooks: Vec<Webhook>,
}

/// A FIFO, and the topics whose lines it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FifoSettings {
    pub(super) fifo: Fifo,
    pub(super) topics: &'static [Topic],
}

#[derive(Clone, Debug)]
pub(super) struct SubjectSettings {
    /// Most subjects have no script of their own and share this.
    pub(super) notify: Arc<Notify>,
    pub(super) smtp_alert: bool,
    pub(super) notify_priority_changes: bool,
    pub(super) deletion: Deletion,
    /// Configured priority; [`Priority::STOP`] for groups.
    pub(super) priority: Priority,
    /// Removed by the last reload. Its last news may still be on the way.
    pub(super) departed: bool,
}

/// What is said when a reload removes a subject.
#[derive(Clone, Debug)]
pub(super) enum Deletion {
    /// Without `notify_deleted`, an instance is said to be in FAULT.
    Fault,
    Deleted(Option<Command>),
    /// Groups go in silence.
    Silent,
}

impl Settings {
    /// Those of `plan`, and for the subjects it no longer has those of `before`, once more.
    pub(super) fn new(plan: &Plan, before: Option<&Self>) -> Self {
        let departed = before.into_iter().flat_map(|before| &before.subjects);
        let silent = Arc::new(Notify::default());
        let shared = |notify: &Notify| {
            if *notify == *silent { Arc::clone(&silent) } else { Arc::new(notify.clone()) }
        };
        let departed = departed.filter(|(_, settings)| !settings.departed).map(|(subject, settings)| {
            (subject.clone(), SubjectSettings { departed: true, ..settings.clone() })
        });
        let instances = plan.routers.iter().map(|router| {
            let deletion = match &router.notify_deleted {
                None => Deletion::Fault,
                Some(command) => Deletion::Deleted(command.clone()),
            };
            let settings = SubjectSettings {
                notify: shared(&router.notify),
                smtp_alert: router.smtp_alert,
                notify_priority_changes: router.notify_priority_changes,
                deletion,
                priority: router.election.priority,
                departed: false,
            };
            (Subject::Instance(Arc::clone(router.name())), settings)
        });
        let groups = plan.groups.iter().map(|group| {
            let settings = SubjectSettings {
                notify: shared(&group.notify),
                smtp_alert: group.smtp_alert,
                notify_priority_changes: false,
                deletion: Deletion::Silent,
                priority: Priority::STOP,
                departed: false,
            };
            (Subject::Group(Arc::clone(&group.election.name)), settings)
        });
        let global = &plan.global;
        Self {
            router_id: Arc::clone(&global.router_id),
            // Of the same subject the later one counts. Collected at once, the map has no half-empty nodes.
            subjects: departed.chain(instances).chain(groups).collect(),
            services: service::services(plan, before.map(|before| &before.services)),
            mail: global.mail.clone(),
            fifos: fifos(plan),
            write_states_on_reload: global.fifo_write_states_on_reload,
            webhooks: global.alert_webhook.clone(),
        }
    }

    /// Whether there is still something to be said about `subject`.
    pub(super) fn knows(&self, subject: &subject::Subject) -> bool {
        match subject {
            subject::Subject::Vrrp(subject) => self.subjects.contains_key(subject),
            subject::Subject::Service(service) => self.services.contains_key(service),
            subject::Subject::Server(service, server) => {
                self.services.get(service).is_some_and(|service| service.has(server))
            }
        }
    }

    /// The state that scripts, FIFOs and mail are told; `None` when they are told nothing.
    pub(super) fn announced(&self, transition: &Transition) -> Option<State> {
        match transition.to {
            State::Init => None,
            State::Deleted => match self.subjects.get(&transition.subject)?.deletion {
                Deletion::Fault => Some(State::Fault),
                Deletion::Deleted(_) => Some(State::Deleted),
                Deletion::Silent => None,
            },
            state => Some(state),
        }
    }
}

/// A specific FIFO is ignored when it has the path of the general one. Two specific ones of the same path are one,
/// with one reader.
fn fifos(plan: &Plan) -> Vec<FifoSettings> {
    let general = plan.global.notify_fifo.as_ref().map(|fifo| (fifo, Topic::ALL.as_slice()));
    let vrrp = plan.global.vrrp_notify_fifo.as_ref().map(|fifo| (fifo, [Topic::Election].as_slice()));
    let lvs = plan.balancing.notify_fifo.as_ref().map(|fifo| (fifo, [Topic::Services].as_slice()));
    let mut fifos: Vec<FifoSettings> = Vec::new();
    for (fifo, topics) in [general, vrrp, lvs].into_iter().flatten() {
        let known = fifos.iter_mut().find(|known| known.fifo.path == fifo.path);
        match known {
            None => fifos.push(FifoSettings { fifo: fifo.clone(), topics }),
            Some(known) if known.topics == [Topic::Election] => {
                known.topics = &Topic::ALL;
                if known.fifo.script.is_none() {
                    known.fifo.script.clone_from(&fifo.script);
                }
            }
            Some(_) => {}
        }
    }
    fifos
}

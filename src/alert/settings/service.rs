use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use buoy_ipvs::{Protocol, RealServerId, ServiceId};

use crate::alert::change::ServiceChange;
use crate::config::plan::{Command, Plan, RealServer, VirtualServer};

pub(in crate::alert) type Services = BTreeMap<Arc<str>, ServiceSettings>;

/// What alerts need of one virtual server.
#[derive(Clone, Debug)]
pub(in crate::alert) struct ServiceSettings {
    label: Label,
    quorum: Wishes,
    /// In order, to be searched: tables have tens of thousands of them, nearly all without a script.
    servers: Vec<(RealServerId, ServerSettings)>,
    /// Removed by the last reload. Its last news may still be on the way.
    departed: bool,
}

#[derive(Clone, Debug)]
struct ServerSettings {
    wishes: Wishes,
    departed: bool,
}

/// What is to happen when something comes or goes.
#[derive(Clone, Debug)]
pub(in crate::alert) struct Wishes {
    /// `None` when nobody wants any.
    pub(in crate::alert) scripts: Option<Box<Scripts>>,
    pub(in crate::alert) smtp_alert: bool,
}

#[derive(Clone, Debug)]
pub(in crate::alert) struct Scripts {
    up: Option<Command>,
    down: Option<Command>,
}

impl Wishes {
    fn new(up: Option<&Command>, down: Option<&Command>, smtp_alert: bool) -> Self {
        let some = up.is_some() || down.is_some();
        let scripts = some.then(|| Box::new(Scripts { up: up.cloned(), down: down.cloned() }));
        Self { scripts, smtp_alert }
    }
}

impl Scripts {
    pub(in crate::alert) fn script(&self, up: bool) -> Option<&Command> {
        if up { self.up.as_ref() } else { self.down.as_ref() }
    }
}

impl ServiceSettings {
    fn new(of: &VirtualServer) -> Self {
        let servers = of.servers().map(|(server, beside)| (server.id, ServerSettings::new(beside)));
        let mut servers: Vec<_> = servers.collect();
        servers.sort_unstable_by_key(|(id, _)| *id);
        Self {
            label: Label::new(of),
            quorum: Wishes::new(of.quorum_up.as_ref(), of.quorum_down.as_ref(), of.smtp_alert),
            servers,
            departed: false,
        }
    }

    /// Those of the server or the quorum that `change` is about; `None` for a server that is not known.
    pub(in crate::alert) fn wishes(&self, change: &ServiceChange) -> Option<&Wishes> {
        match &change.server {
            Some(server) => Some(&self.server(server)?.wishes),
            None => Some(&self.quorum),
        }
    }

    pub(in crate::alert) fn has(&self, server: &RealServerId) -> bool {
        self.server(server).is_some()
    }

    fn server(&self, server: &RealServerId) -> Option<&ServerSettings> {
        let at = self.servers.binary_search_by_key(server, |(id, _)| *id).ok()?;
        self.servers.get(at).map(|(_, settings)| settings)
    }

    /// The name that keepalived gives it in FIFO lines and mails.
    pub(in crate::alert) const fn label(&self) -> &Label {
        &self.label
    }

    /// Keeps the servers of `before` that are gone.
    fn keep_departed(&mut self, before: &Self) {
        let gone = before.servers.iter().filter(|(id, server)| !server.departed && !self.has(id));
        let gone: Vec<_> =
            gone.map(|(id, server)| (*id, ServerSettings { departed: true, ..server.clone() })).collect();
        if !gone.is_empty() {
            self.servers.extend(gone);
            self.servers.sort_unstable_by_key(|(id, _)| *id);
        }
    }
}

impl ServerSettings {
    fn new(of: &RealServer) -> Self {
        let wishes = Wishes::new(of.notify_up.as_ref(), of.notify_down.as_ref(), of.smtp_alert);
        Self { wishes, departed: false }
    }
}

/// Those of `plan`, and of what it no longer has those of `before`, once more.
pub(super) fn services(plan: &Plan, before: Option<&Services>) -> Services {
    let present = plan.services.iter().map(|of| (Arc::clone(&of.service.name), ServiceSettings::new(of)));
    let mut services: Services = present.collect();
    for (name, before) in before.into_iter().flatten().filter(|(_, before)| !before.departed) {
        match services.get_mut(name) {
            Some(service) => service.keep_departed(before),
            None => {
                services.insert(Arc::clone(name), ServiceSettings { departed: true, ..before.clone() });
            }
        }
    }
    services
}

/// A virtual server as keepalived writes it: `[10.0.0.1]:tcp:80`, `FWM 7`, and for a group `[NAME]:0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::alert) enum Label {
    Address { protocol: Protocol, address: IpAddr, port: u16 },
    FwMark(u32),
    Group { name: Arc<str>, protocol: Option<Protocol> },
}

impl Label {
    fn new(of: &VirtualServer) -> Self {
        let name = &of.service.name;
        let first = of.service.members.first().map(|member| member.id);
        match first {
            Some(id @ ServiceId::Address { protocol, address, port }) if **name == *id.to_string() => {
                Self::Address { protocol, address, port }
            }
            Some(id @ ServiceId::FwMark { mark, .. }) if **name == *id.to_string() => {
                Self::FwMark(mark.get())
            }
            Some(ServiceId::Address { protocol, .. }) => {
                // See `Service::name`.
                let group = name.strip_suffix(&format!(" {protocol}")).unwrap_or(name);
                Self::Group { name: group.into(), protocol: Some(protocol) }
            }
            Some(ServiceId::FwMark { .. }) | None => Self::Group { name: Arc::clone(name), protocol: None },
        }
    }

    /// A real server behind it: `[10.1.0.1]:tcp:80`. Marks have no protocol; the word is then `none`.
    pub(in crate::alert) fn server(&self, server: RealServerId) -> String {
        let protocol = match self {
            Self::Address { protocol, .. } => Some(*protocol),
            Self::FwMark(_) => None,
            Self::Group { protocol, .. } => *protocol,
        };
        let RealServerId { address, port } = server;
        format!("[{address}]:{}:{port}", word(protocol))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address, port } => {
                write!(f, "[{address}]:{}:{port}", word(Some(*protocol)))
            }
            Self::FwMark(mark) => write!(f, "FWM {mark}"),
            // keepalived prints the address of the group, which it has none of.
            Self::Group { name, .. } => write!(f, "[{name}]:0"),
        }
    }
}

const fn word(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
        Some(Protocol::Sctp) => "sctp",
        None => "none",
    }
}

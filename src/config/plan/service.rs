//! Virtual services: what the reconciler takes, and what the daemon needs beside it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use buoy_ipvs::Timeouts;
use serde::Serialize;

use super::{Command, Fifo, Forwarding, Scheduling};
use crate::control::{Server, Service};

/// One `virtual_server`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirtualServer {
    /// What the reconciler takes; `servers` says the rest about each of its servers, in the same order.
    pub service: Arc<Service>,
    pub servers: Vec<RealServer>,
    /// No checks while the address is on no interface of this host.
    pub ha_suspend: bool,
    /// `notify_down` and `quorum_down` run at shutdown.
    pub omega: bool,
    pub quorum_up: Option<Command>,
    pub quorum_down: Option<Command>,
    /// Mail when the quorum is gained or lost.
    pub smtp_alert: bool,
    /// `conn_timeouts` and `conn_timeout`: of its connections alone. What is `None` is as for all services. Of the
    /// engine.
    pub timeouts: Timeouts,
}

impl VirtualServer {
    /// Every server with what is beside it.
    pub fn servers(&self) -> impl Iterator<Item = (&Server, &RealServer)> {
        self.service.servers.iter().zip(&self.servers)
    }
}

/// What goes with one real server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RealServer {
    pub notify_up: Option<Command>,
    pub notify_down: Option<Command>,
    /// Mail when the server comes or goes.
    pub smtp_alert: bool,
    /// The server is up while all of them are; without any it always is.
    pub checks: Vec<Check>,
}

/// One checker of a real server, every default resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub settings: CheckSettings,
    /// From the end of one check to the next (60 s).
    pub delay_loop: Duration,
    /// Further attempts before a failure counts (1; DNS 3, MISC 0). Buoy's own `fall`, which counts the first attempt
    /// too, goes before it.
    pub retry: u32,
    /// Between those attempts (1 s; HTTP 3 s, DNS `delay_loop`).
    pub delay_before_retry: Duration,
    /// The first check comes within so much, at random (`delay_loop`); zero does not spread.
    pub warmup: Duration,
    /// Buoy's own: successes in a row that make it up again (1).
    pub rise: u32,
    /// Down until it succeeds.
    pub alpha: bool,
    /// Every failed attempt is logged, not the transition alone.
    pub log_all_failures: bool,
}

/// What a checker does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CheckSettings {
    /// A connection is accepted.
    Tcp {
        probe: Probe,
    },
    /// HTTP_GET and SSL_GET.
    Http(Box<HttpCheck>),
    /// A mail server greets.
    Smtp {
        probe: Probe,
        helo_name: Arc<str>,
    },
    /// A name server answers without an error.
    Dns {
        probe: Probe,
        query: DnsType,
        name: Arc<str>,
        /// Buoy's own: the content that one of the records has to have.
        answer: Option<Arc<str>>,
    },
    /// A command ends with status 0.
    Misc {
        command: Command,
        timeout: Duration,
        /// Statuses from 2 on are a weight, plus 2.
        dynamic: bool,
    },
    Udp(Box<UdpCheck>),
    /// An echo is answered; the port means nothing.
    Ping {
        probe: Probe,
    },
    /// The number in a `track_file` adds to the weight; with weight 0 it says whether the server is down.
    File {
        track_file: Arc<str>,
        weight: i32,
        reverse: bool,
    },
    /// HAProxy's agent protocol.
    Agent {
        probe: Probe,
        /// Sent as soon as the connection stands.
        send: Option<Arc<str>>,
    },
}

impl CheckSettings {
    /// Where it goes, if it goes anywhere.
    pub const fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Tcp { probe }
            | Self::Smtp { probe, .. }
            | Self::Dns { probe, .. }
            | Self::Ping { probe }
            | Self::Agent { probe, .. } => Some(probe),
            Self::Http(http) => Some(&http.probe),
            Self::Udp(udp) => Some(&udp.probe),
            Self::Misc { .. } | Self::File { .. } => None,
        }
    }
}

/// Where a check goes, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Probe {
    pub address: IpAddr,
    /// 0 only for PING_CHECK.
    pub port: u16,
    /// Of the family of `address`.
    pub bind_address: Option<IpAddr>,
    pub bind_port: Option<u16>,
    pub bind_interface: Option<Arc<str>>,
    /// For connecting and for each answer (5 s).
    pub connect_timeout: Duration,
    /// Mark of the probe's packets; 0 marks nothing.
    pub mark: u32,
    /// Buoy's own: goes to the address of the service, by way of the server's forwarding method.
    pub check_vip: bool,
}

/// HTTP_GET or SSL_GET.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpCheck {
    pub probe: Probe,
    pub tls: bool,
    /// Never empty; one page a round, in turn.
    pub pages: Vec<Page>,
    pub version: HttpVersion,
    /// No pause between pages while recovering.
    pub fast_recovery: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HttpVersion {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.0` with `Connection: close`
    Http10Close,
    /// `HTTP/1.1` with `Connection: close`
    Http11,
}

/// One `url`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    pub path: Arc<str>,
    /// Accepted statuses, ends included.
    pub status_codes: Vec<(u16, u16)>,
    /// MD5 of the body in lower-case hexadecimal digits.
    pub digest: Option<Arc<str>>,
    pub regex: Option<PagePattern>,
    /// Host header; without one address and port are sent.
    pub virtualhost: Option<Arc<str>>,
    /// Name for SNI, where it is sent.
    pub server_name: Option<Arc<str>>,
    /// The end of the TLS stream has to be announced.
    pub tls_compliant: bool,
}

/// A pattern in a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PagePattern {
    pub pattern: Arc<str>,
    /// Success is that it is not there.
    pub no_match: bool,
    /// Names of PCRE2 options.
    pub options: Vec<Arc<str>>,
    /// Where a match may begin.
    pub min_offset: u32,
    pub max_offset: Option<u32>,
}

/// Record types that DNS_CHECK asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsType {
    A,
    Ns,
    Cname,
    Soa,
    Mx,
    Txt,
    Aaaa,
    Rrsig,
    Dnskey,
}

/// UDP_CHECK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UdpCheck {
    pub probe: Probe,
    /// `None` sends some 32 bytes of text.
    pub payload: Option<Vec<u8>>,
    /// Silence is a failure; what the answer has to look like, over the shorter length of both.
    pub reply: Option<Vec<ReplyByte>>,
    pub min_reply_length: u16,
    pub max_reply_length: u16,
}

/// One byte of an answer: those bits of it that `mask` has are those of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyByte {
    pub value: u8,
    pub mask: u8,
}

/// What `global_defs` and the root say about virtual services as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Balancing {
    /// `forwarding` and `engine`.
    pub forwarding: Forwarding,
    /// `lvs_timeouts`; what it does not name stays the kernel's.
    pub timeouts: Timeouts,
    /// Tables are emptied at start.
    pub flush: bool,
    pub flush_on_stop: FlushOnStop,
    pub sync_daemon: Option<SyncDaemon>,
    pub notify_fifo: Option<Fifo>,
    pub log_all_failures: bool,
    /// No mail for the change of a single check.
    pub no_checker_emails: bool,
    /// Servers are notified of their first state.
    pub rs_init_notifies: bool,
    /// Privileges of whoever runs the checks.
    pub scheduling: Scheduling,
    pub tls: ClientTls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum FlushOnStop {
    #[default]
    No,
    /// `lvs_flush_on_stop VS`: whole services, without their servers one by one.
    Services,
    /// The whole table.
    All,
}

/// `lvs_sync_daemon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SyncDaemon {
    pub interface: Arc<str>,
    /// Its state is the role; without an instance both roles run.
    pub instance: Option<Arc<str>>,
    /// That of the instance's VRID unless configured; 0 without an instance.
    pub sync_id: u8,
    /// What is `None` is left to the kernel, as in the following.
    pub max_len: Option<u16>,
    pub group: Option<IpAddr>,
    pub port: Option<u16>,
    pub ttl: Option<u8>,
}

/// `SSL`: how SSL_GET presents itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClientTls {
    pub certificate: Option<Arc<str>>,
    pub key: Option<Arc<str>>,
    /// Opens a key of PKCS #8.
    #[serde(skip)]
    pub password: Option<Arc<str>>,
    pub ca: Option<Arc<str>>,
}

impl std::fmt::Debug for ClientTls {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

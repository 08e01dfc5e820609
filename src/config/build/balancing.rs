//! What the root and `global_defs` say about virtual services.

use std::sync::Arc;
use std::time::Duration;

use buoy_ipvs::Timeouts;

use super::Build;
use super::global::{processors, text};
use crate::config::finding::Code;
use crate::config::plan::{Balancing, ClientTls, FlushOnStop, Router, Scheduling, SyncDaemon};
use crate::config::schema::sync_instance;
use crate::config::settings::{Settings, Ssl, Text, Words};
use crate::control::probe::{self, SslWord};

impl Build<'_> {
    pub(super) fn balancing(&mut self, settings: &Settings, routers: &[Router]) -> Balancing {
        let g = &settings.global_defs;
        let ssl = &settings.ssl;
        if let (Some(key), None) = (&ssl.key, &ssl.certificate) {
            self.without_effect(key, "a key without a `certificate`");
        }
        let tls = ClientTls {
            certificate: ssl.certificate.as_ref().map(text),
            key: ssl.key.as_ref().filter(|_| ssl.certificate.is_some()).map(text),
            password: ssl.password.as_ref().map(text),
            ca: ssl.ca.as_ref().map(text),
        };
        if self.any_tls && self.options.inspect_files {
            self.try_out(ssl, &tls);
        }
        let whole = |words: &Words| if words.is_empty() { FlushOnStop::All } else { FlushOnStop::Services };
        Balancing {
            forwarding: self.engine_and_plane(g),
            timeouts: g.lvs_timeouts.as_ref().map(timeouts).unwrap_or_default(),
            flush: g.lvs_flush,
            flush_on_stop: g.lvs_flush_on_stop.as_ref().map_or(FlushOnStop::No, whole),
            sync_daemon: g.lvs_sync_daemon.as_ref().and_then(|words| self.sync_daemon(words, routers)),
            notify_fifo: self.specific_fifo(
                "lvs_notify_fifo",
                g.lvs_notify_fifo.as_ref(),
                g.lvs_notify_fifo_script.as_ref(),
                g.notify_fifo.as_ref(),
            ),
            log_all_failures: g.checker_log_all_failures,
            no_checker_emails: g.no_checker_emails,
            rs_init_notifies: g.rs_init_notifies,
            scheduling: Scheduling {
                nice: g.checker_priority.and_then(|n| i8::try_from(n).ok()),
                rt_priority: g.checker_rt_priority.and_then(|n| u8::try_from(n).ok()),
                no_swap: g.checker_no_swap,
                cpu_affinity: processors(g.checker_cpu_affinity.as_ref()),
            },
            tls,
        }
    }

    /// Says which file TLS cannot be spoken with.
    fn try_out(&mut self, ssl: &Ssl, tls: &ClientTls) {
        let Err(unusable) = probe::try_out(tls) else { return };
        let word = unusable.file.as_ref().and_then(|(word, _)| match word {
            SslWord::Ca => ssl.ca.as_ref(),
            SslWord::Certificate => ssl.certificate.as_ref(),
            SslWord::Key => ssl.key.as_ref(),
        });
        let span = word.map(|word| word.span);
        self.doubt(Code::Certificate, span, &unusable.to_string(), "no SSL_GET is made");
    }

    /// `IFNAME [[inst] INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDR]`.
    fn sync_daemon(&mut self, words: &Words, routers: &[Router]) -> Option<SyncDaemon> {
        let interface = words.first()?;
        self.interface(interface);
        let all: Vec<&str> = words.iter().map(|w| &*w.value).collect();
        let at = sync_instance(&all);
        let name = at.and_then(|at| words.get(at));
        let router = name.and_then(|name| routers.iter().find(|r| *r.name() == name.value));
        if let Some(name) = name.filter(|_| router.is_none()) {
            let message = format!("`{}` is no instance that can run", name.value);
            self.warn(Code::Undefined, name.span, &message, "there is no sync daemon");
            self.leave_out(interface);
            return None;
        }
        let options = words.get(at.unwrap_or(0) + 1..).unwrap_or(&[]);
        let written = option(options, "id").and_then(|w| w.value.parse().ok());
        Some(SyncDaemon {
            interface: Arc::clone(&interface.value),
            instance: name.map(text),
            sync_id: written.or(router.map(|r| r.election.vrid.get())).unwrap_or(0),
            max_len: option(options, "maxlen").and_then(|w| w.value.parse().ok()),
            group: option(options, "group").and_then(|w| w.value.parse().ok()),
            port: option(options, "port").and_then(|w| w.value.parse().ok()),
            ttl: option(options, "ttl").and_then(|w| w.value.parse().ok()),
        })
    }
}

/// The value of an option, the last one if it stands there more than once.
fn option<'w>(words: &'w [Text], name: &str) -> Option<&'w Text> {
    let mut pairs = words.chunks(2).rev();
    pairs.find_map(|pair| pair.get(1).filter(|_| pair.first().is_some_and(|w| &*w.value == name)))
}

/// `[tcp N] [tcpfin N] [udp N]`; 0 leaves the kernel's.
pub(super) fn timeouts(words: &Words) -> Timeouts {
    let of = |name: &str| {
        let seconds = option(words, name)?.value.parse().ok().filter(|n| *n > 0)?;
        Some(Duration::from_secs(seconds))
    };
    Timeouts { tcp: of("tcp"), tcp_fin: of("tcpfin"), udp: of("udp") }
}

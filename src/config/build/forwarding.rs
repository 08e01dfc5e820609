//! Which plane forwards, and what only one of them can do.

use std::time::Duration;

use buoy_ipvs::{Forwarding, Protocol, Scheduler, Timeouts};

use super::Build;
use super::balancing::timeouts;
use super::service::Addressed;
use crate::config::finding::{Code, Finding};
use crate::config::plan::{self, EngineSettings, PlaneChoice, ReuseMode, TierChoice};
use crate::config::settings::{self, Engine, Text};

/// Why something of the engine cannot be had.
const KERNEL_ALONE: &str = "`forwarding kernel` has the kernel forward";

/// The choice of `forwarding`.
pub(super) fn plane_choice(g: &settings::Global) -> PlaneChoice {
    match g.forwarding.as_ref().map(|word| &*word.value) {
        Some("kernel") => PlaneChoice::Kernel,
        Some("engine") => PlaneChoice::Engine,
        _ => PlaneChoice::Auto,
    }
}

impl Build<'_> {
    pub(super) fn engine_and_plane(&mut self, g: &settings::Global) -> plan::Forwarding {
        if let Some(block) = g.engine.as_ref().filter(|_| self.is_kernel_alone()) {
            let message = format!("settings of Buoy's own engine, and {KERNEL_ALONE}");
            self.doubt(Code::Conflict, block.span, &message, "they are for when the engine forwards");
        }
        let engine = g.engine.as_ref().map(|block| engine_settings(&block.value)).unwrap_or_default();
        plan::Forwarding { plane: self.plane, engine }
    }

    fn is_kernel_alone(&self) -> bool {
        self.plane == PlaneChoice::Kernel
    }

    /// `FNAT`. Another method would be no replacement: servers answer clients past a director that they have no route by.
    pub(super) fn full_nat(&mut self, word: &Text) -> Forwarding {
        if self.is_kernel_alone() {
            let message = format!(
                "`FNAT` is of Buoy's own engine, and {KERNEL_ALONE}; write `forwarding auto`, or `NAT` with routes from \
                 the servers back here"
            );
            self.findings.push(Finding::error(Code::Conflict, word.span, message));
        }
        Forwarding::FullNat
    }

    /// The scheduler itself, or the one of the kernel that comes near it.
    pub(super) fn scheduler_of(&mut self, word: &Text, written: Scheduler) -> Scheduler {
        let nearest = written.nearest_in_kernel();
        if nearest == written || !self.is_kernel_alone() {
            return written;
        }
        let message = format!("`{written}` is a scheduler of Buoy's own engine, and {KERNEL_ALONE}");
        self.warn(Code::Conflict, word.span, &message, nearest.name());
        self.write_instead(word, &[nearest.name()]);
        nearest
    }

    /// `conn_timeouts`, and `conn_timeout` for what it does not name: DPVS has it for what is established.
    pub(super) fn timeouts_of(&mut self, vs: &settings::VirtualServer, addressed: &Addressed) -> Timeouts {
        let each = vs.conn_timeouts.as_ref().and_then(|words| words.first());
        let useless = if self.is_kernel_alone() {
            Some(format!("timeouts of one service are of Buoy's own engine, and {KERNEL_ALONE}"))
        } else if addressed.carries(Protocol::Tcp) || addressed.carries(Protocol::Udp) {
            None
        } else {
            Some("timeouts are of TCP and UDP, and this service is SCTP".to_owned())
        };
        if let Some(message) = useless {
            let written = vs.conn_timeout.iter().map(|word| (word.span, word.at));
            for (span, at) in written.chain(each.map(|word| (word.span, word.at))) {
                self.warn(Code::Conflict, span, &message, "it has no effect");
                self.edits.leave_out(at);
            }
            return Timeouts::default();
        }
        let each = vs.conn_timeouts.as_ref().map(timeouts).unwrap_or_default();
        let seconds = vs.conn_timeout.and_then(|number| u64::try_from(number.value).ok());
        let established = |of| seconds.filter(|_| addressed.carries(of)).map(Duration::from_secs);
        Timeouts {
            tcp: each.tcp.or(established(Protocol::Tcp)),
            tcp_fin: each.tcp_fin,
            udp: each.udp.or(established(Protocol::Udp)),
        }
    }
}

fn engine_settings(engine: &Engine) -> EngineSettings {
    let default = EngineSettings::default();
    EngineSettings {
        connections: engine.connections.and_then(|n| u32::try_from(n).ok()).unwrap_or(default.connections),
        tier: match engine.tier.as_ref().map(|word| &*word.value) {
            Some("tc") => TierChoice::Tc,
            Some("portable") => TierChoice::Portable,
            _ => TierChoice::Auto,
        },
        toa: engine.toa.unwrap_or(default.toa),
        sloppy_tcp: engine.sloppy_tcp.unwrap_or(default.sloppy_tcp),
        sloppy_sctp: engine.sloppy_sctp.unwrap_or(default.sloppy_sctp),
        secure_tcp: engine.secure_tcp.unwrap_or(default.secure_tcp),
        pmtu_disc: engine.pmtu_disc.unwrap_or(default.pmtu_disc),
        reuse: match engine.conn_reuse_mode {
            Some(0) => ReuseMode::Never,
            Some(2 | 3) => ReuseMode::HalfEnded,
            _ => default.reuse,
        },
        expire_quiescent_template: engine
            .expire_quiescent_template
            .unwrap_or(default.expire_quiescent_template),
    }
}

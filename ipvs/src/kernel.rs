//! Linux's IPVS over generic netlink, and the messages that it speaks.
//!
//! [`KernelPlane`] is what the rest of Buoy uses. Below it, from the outside in: `handle` is the socket, [`Message`] a
//! request or an answer, [`Attribute`] what it is about; [`service`], [`server`] and [`daemon`] translate between the
//! model and lists of attributes. Names of constants are those of `linux/ip_vs.h`. What the kernel may add one day
//! survives as `Other`.

mod attribute;
pub mod daemon;
mod handle;
mod listing;
mod message;
mod reason;
pub mod server;
pub mod service;
mod statistics;
mod value;

use std::fmt;
use std::time::Duration;

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

pub use attribute::Attribute;
pub use message::Message;
pub use statistics::StatisticsAttribute;
pub use value::Flags;

use crate::plane::{
    Counters, Foreign, Plane, PlaneError, Snapshot, Statistics, SyncDaemon, SyncRole, Timeouts,
};
use crate::real_server::RealServer;
use crate::refusal::{Reason, Refusal};
use crate::table::{Change, Table};
use crate::virtual_service::{ServiceId, VirtualService};
use handle::{Handle, nonsense};
pub(crate) use handle::{error_of, frames};
pub(crate) use reason::{foreseen, may_be_a_host};
use server::ReadServer;
use service::ReadService;

/// How the plane is called in errors.
const PLANE: &str = "the kernel's IPVS";
/// How often a sync daemon is told to stop when the kernel neither answers nor does it.
const STOP_ATTEMPTS: usize = 5;

/// Whether the kernel's module may be loaded when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleLoading {
    /// By `modprobe`. The kernel may do it by itself when asked for IPVS.
    Allowed,
    Never,
}

/// The kernel's IPVS in the network namespace of the thread that opened it.
pub struct KernelPlane {
    handle: Handle,
}

impl fmt::Debug for KernelPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelPlane").finish_non_exhaustive()
    }
}

impl KernelPlane {
    /// Opens it, which needs no privilege; all that [`Plane`] offers needs CAP_NET_ADMIN. [`PlaneError::Missing`] if
    /// the kernel has no IPVS.
    pub fn open(loading: ModuleLoading) -> Result<Self, PlaneError> {
        Handle::open(loading).map(|handle| Self { handle })
    }

    /// Everything that the kernel holds, handed to `each`.
    fn walk(&mut self, mut each: impl FnMut(Held)) -> Result<(), PlaneError> {
        let services =
            self.handle.dump(&Message::services())?.map_err(|e| refused("read the services", e))?;
        for message in services {
            let service = match service_of(&message).map_err(nonsense)? {
                ReadService::Known(service, counters) => {
                    let id = service.id;
                    each(Held::Service(service, counters));
                    id
                }
                ReadService::Foreign(foreign) => {
                    each(Held::Foreign(foreign));
                    continue;
                }
            };
            let servers =
                self.handle.dump(&Message::servers(&service))?.map_err(|e| refused("read the servers", e))?;
            for message in servers {
                each(match server_of(&service, &message).map_err(nonsense)? {
                    ReadServer::Known(server, counters) => Held::Server(service, server, counters),
                    ReadServer::Foreign(foreign) => Held::Foreign(foreign),
                });
            }
        }
        Ok(())
    }

    /// Has the kernel do what `message` says.
    fn command(
        &mut self,
        message: Message,
        doing: impl Fn() -> String,
        reason: impl Fn(Errno) -> Reason,
    ) -> Result<(), PlaneError> {
        match self.handle.ask(&message)? {
            Ok(_) => Ok(()),
            Err(Errno::EPERM) => Err(PlaneError::Permission),
            Err(errno) => Err(PlaneError::Refused { doing: doing(), reason: reason(errno) }),
        }
    }
}

enum Held {
    Service(VirtualService, Counters),
    Server(ServiceId, RealServer, Counters),
    Foreign(Foreign),
}

impl Plane for KernelPlane {
    fn snapshot(&mut self) -> Result<Snapshot, PlaneError> {
        let mut table = Table::new();
        let mut foreign = Vec::new();
        self.walk(|held| match held {
            Held::Service(service, _) => table.set_service(service),
            Held::Server(service, server, _) => {
                table.set_server(&service, server);
            }
            Held::Foreign(entry) => foreign.push(entry),
        })?;
        Ok(Snapshot { table, foreign })
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Refusal>, PlaneError> {
        let refusal = |index, change: &Change, reason| Refusal { index, what: change.to_string(), reason };
        let mut refusals = Vec::new();
        let mut possible = Vec::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            match reason::foreseen(change) {
                Some(reason) => refusals.push(refusal(index, change, reason)),
                None => possible.push((index, change)),
            }
        }
        let (places, possible): (Vec<usize>, Vec<&Change>) = possible.into_iter().unzip();
        for (place, errno) in self.handle.carry_out(&possible)? {
            if errno == Errno::EPERM {
                return Err(PlaneError::Permission);
            }
            if let (Some(index), Some(change)) = (places.get(place), possible.get(place)) {
                refusals.push(refusal(*index, change, reason::of_change(change, errno)));
            }
        }
        refusals.sort_by_key(|refusal| refusal.index);
        Ok(refusals)
    }

    fn statistics(&mut self) -> Result<Statistics, PlaneError> {
        let mut statistics = Statistics::default();
        self.walk(|held| match held {
            Held::Service(service, counters) => {
                statistics.services.insert(service.id, counters);
            }
            Held::Server(service, server, counters) => {
                statistics.servers.insert((service, server.id), counters);
            }
            Held::Foreign(_) => {}
        })?;
        Ok(statistics)
    }

    fn zero(&mut self, service: Option<&ServiceId>) -> Result<(), PlaneError> {
        let doing = || match service {
            Some(id) => format!("zero the counters of {id}"),
            None => "zero the counters".to_owned(),
        };
        self.command(Message::zero(service), doing, |errno| match errno {
            Errno::ESRCH => Reason::NoService,
            errno => reason::other(errno),
        })
    }

    fn flush(&mut self) -> Result<(), PlaneError> {
        self.command(Message::flush(), || "remove all virtual services".to_owned(), reason::other)
    }

    fn timeouts(&mut self) -> Result<Timeouts, PlaneError> {
        let answer = self.handle.ask(&Message::timeouts())?.map_err(|e| refused("read the timeouts", e))?;
        let mut timeouts = Timeouts::default();
        let seconds = |seconds: &u32| Some(Duration::from_secs(u64::from(*seconds)));
        for attribute in answer.iter().flat_map(|message| &message.attributes) {
            match attribute {
                Attribute::TimeoutTcp(value) => timeouts.tcp = seconds(value),
                Attribute::TimeoutTcpFin(value) => timeouts.tcp_fin = seconds(value),
                Attribute::TimeoutUdp(value) => timeouts.udp = seconds(value),
                _ => {}
            }
        }
        Ok(timeouts)
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), PlaneError> {
        let doing = || "set the timeouts".to_owned();
        if !timeouts.are_possible() {
            return Err(PlaneError::Refused { doing: doing(), reason: Reason::Timeout });
        }
        let attribute = |timeout: Option<Duration>, of: fn(u32) -> Attribute| {
            timeout.map(|timeout| of(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)))
        };
        let attributes = [
            attribute(timeouts.tcp, Attribute::TimeoutTcp),
            attribute(timeouts.tcp_fin, Attribute::TimeoutTcpFin),
            attribute(timeouts.udp, Attribute::TimeoutUdp),
        ];
        let attributes: Vec<_> = attributes.into_iter().flatten().collect();
        if attributes.is_empty() {
            return Ok(());
        }
        self.command(Message::set_timeouts(attributes), doing, |errno| match errno {
            Errno::EINVAL => Reason::Timeout,
            errno => reason::other(errno),
        })
    }

    fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, PlaneError> {
        let answer =
            self.handle.dump(&Message::daemons())?.map_err(|e| refused("read the sync daemons", e))?;
        let daemons = answer.iter().flat_map(|message| &message.attributes);
        daemons
            .filter_map(|attribute| match attribute {
                Attribute::Daemon(attributes) => Some(daemon::read(attributes).map_err(nonsense)),
                _ => None,
            })
            .collect()
    }

    fn start_sync(&mut self, daemon: &SyncDaemon) -> Result<(), PlaneError> {
        let doing = || format!("start the {} sync daemon", daemon.role);
        if let Some(reason) = daemon.objection() {
            return Err(PlaneError::Refused { doing: doing(), reason });
        }
        match self.command(Message::start(daemon), doing, |errno| reason::of_start(daemon, errno)) {
            // Not answered is not refused.
            Err(PlaneError::Silent(..)) if self.sync_daemons()?.iter().any(|d| daemon.is_met_by(d)) => Ok(()),
            outcome => outcome,
        }
    }

    fn stop_sync(&mut self, role: SyncRole) -> Result<(), PlaneError> {
        let doing = || format!("stop the {role} sync daemon");
        let mut attempt = 1;
        loop {
            let outcome = self.command(Message::stop(role), doing, |errno| match errno {
                Errno::ESRCH => Reason::NoSync(role),
                errno => reason::other(errno),
            });
            // The kernel does not answer when a daemon has just started: it may have stopped it or not.
            if !matches!(outcome, Err(PlaneError::Silent(..))) {
                return outcome;
            }
            if self.sync_daemons()?.iter().all(|daemon| daemon.role != role) {
                return Ok(());
            }
            if attempt == STOP_ATTEMPTS {
                return outcome;
            }
            attempt += 1;
        }
    }
}

fn refused(doing: &str, errno: Errno) -> PlaneError {
    match errno {
        Errno::EPERM => PlaneError::Permission,
        errno => PlaneError::Refused { doing: doing.to_owned(), reason: reason::other(errno) },
    }
}

fn service_of(message: &Message) -> Result<ReadService, DecodeError> {
    let service = message.attributes.iter().find_map(|attribute| match attribute {
        Attribute::Service(attributes) => Some(attributes),
        _ => None,
    });
    service::read(service.ok_or("a list of services with something else in it")?)
}

fn server_of(service: &ServiceId, message: &Message) -> Result<ReadServer, DecodeError> {
    let server = message.attributes.iter().find_map(|attribute| match attribute {
        Attribute::Server(attributes) => Some(attributes),
        _ => None,
    });
    server::read(service, server.ok_or("a list of real servers with something else in it")?)
}

/// The messages of one datagram from the kernel: what its answers are read with. Acknowledgements and ends of dumps are
/// left out. Ends at the first message that makes no sense.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message, DecodeError>> {
    use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR};
    handle::frames(datagram).filter_map(|frame| match frame {
        Ok(frame) if frame.kind == NLMSG_ERROR || frame.kind == NLMSG_DONE => {
            handle::error_of(frame.payload).err().map(Err)
        }
        Ok(frame) => Some(handle::message_of(frame.payload)),
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests;

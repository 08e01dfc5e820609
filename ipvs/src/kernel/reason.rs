//! What the kernel means by its error numbers. It gives no other reasons, but each request leaves few of them.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::plane::SyncDaemon;
use crate::real_server::Forwarding;
use crate::refusal::Reason;
use crate::scheduler::Scheduler;
use crate::table::Change;
use crate::virtual_service::{Family, VirtualService};

/// Why the kernel would refuse a change whatever it holds, or misunderstand it.
pub(crate) fn foreseen(change: &Change) -> Option<Reason> {
    change.objection().or_else(|| match change {
        Change::AddService(service) | Change::EditService(service) => {
            let beyond = |scheduler: &Scheduler| scheduler.nearest_in_kernel() != *scheduler;
            let local = || (!service.local_addresses.is_empty()).then_some(Reason::LocalAddresses);
            service.scheduler.filter(beyond).map(Reason::EngineOnly).or_else(local)
        }
        // It would keep the number of the method, and drop the packets.
        Change::AddServer(_, server) | Change::EditServer(_, server) => {
            (server.forwarding == Forwarding::FullNat).then_some(Reason::FullNat)
        }
        Change::RemoveService(_) | Change::RemoveServer(..) => None,
    })
}

/// Why the kernel refused a change.
pub(super) fn of_change(change: &Change, errno: Errno) -> Reason {
    match (change, errno) {
        (_, Errno::EEXIST) => Reason::Exists,
        (_, Errno::ESRCH) => Reason::NoService,
        (_, Errno::EAFNOSUPPORT) => Reason::NoFamily(change.service().family()),
        (Change::AddService(service) | Change::EditService(service), _) => of_service(service, errno),
        (Change::EditServer(..) | Change::RemoveServer(..), Errno::ENOENT) => Reason::NoServer,
        // What cannot be added is not there to be changed: the address of a server that is edited was good once.
        (Change::AddServer(_, server), Errno::EINVAL) if !may_be_a_host(server.id.address) => {
            Reason::NotUnicast(server.id.address)
        }
        (Change::AddServer(id, server) | Change::EditServer(id, server), Errno::EINVAL)
            if Family::of(server.id.address) != id.family() =>
        {
            Reason::SyncWithMixedFamily
        }
        _ => other(errno),
    }
}

fn of_service(service: &VirtualService, errno: Errno) -> Reason {
    let engine = service.persistence.as_ref().and_then(|persistence| persistence.engine.clone());
    match (errno, service.scheduler, engine) {
        (Errno::ENOENT, Some(scheduler), Some(engine)) => Reason::NoSchedulerOrEngine(scheduler, engine),
        (Errno::ENOENT, Some(scheduler), None) => Reason::NoScheduler(scheduler),
        (Errno::ENOENT, None, Some(engine)) => Reason::NoEngine(engine),
        (Errno::EINVAL, Some(Scheduler::Mh), _) => Reason::TooManyServers,
        _ => other(errno),
    }
}

/// Whether a packet could be sent to `address`, as far as the address alone tells.
pub(crate) fn may_be_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

/// Why the kernel would not start a sync daemon.
pub(super) fn of_start(daemon: &SyncDaemon, errno: Errno) -> Reason {
    match (errno, daemon.group) {
        (Errno::EEXIST, _) => Reason::SyncRuns(daemon.role),
        (Errno::ENODEV, _) => Reason::NoInterface(daemon.interface.to_string()),
        (Errno::EINVAL, Some(group)) if !group.is_multicast() => Reason::NotMulticast(group),
        (Errno::EINVAL, _) => Reason::SyncWithMixedFamily,
        (Errno::ENETUNREACH | Errno::EADDRNOTAVAIL, _) => Reason::NoWayToGroup(daemon.interface.to_string()),
        _ => other(errno),
    }
}

pub(super) fn other(errno: Errno) -> Reason {
    Reason::Other(format!("the kernel says: {}", errno.desc()))
}

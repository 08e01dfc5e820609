//! Services and servers in ipvsadm's columns.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use buoy_ipvs::{
    Counters, Family, Forwarding, ListedServer, ListedService, PlaneInfo, SchedulerFlags, SyncDaemon,
    Timeouts, Tunnel, TunnelChecksum,
};

use super::command::{Columns, ServiceList};
use super::label::{Labels, protocol_of};

/// Writes the table. `info` is the first line of a whole one.
pub(super) fn write_services(
    out: &mut impl Write,
    info: Option<PlaneInfo>,
    services: &[ListedService],
    list: &ServiceList,
    labels: &mut Labels<'_>,
) -> io::Result<()> {
    if let Some(PlaneInfo { version: [major, minor, patch], connection_buckets }) = info {
        writeln!(out, "IP Virtual Server version {major}.{minor}.{patch} (size={connection_buckets})")?;
    }
    writeln!(out, "{}", heading(list.columns))?;
    for service in services {
        write_service(out, service, list, labels)?;
        let protocol = protocol_of(service);
        for server in &service.servers {
            let address = labels.narrow(server.id.address, server.id.port, protocol);
            writeln!(out, "  -> {address:<28}{}", columns_of(server, list))?;
        }
    }
    Ok(())
}

const fn heading(columns: Columns) -> &'static str {
    match columns {
        Columns::Usual => {
            "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"
        }
        Columns::Tunnels => {
            "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn"
        }
        Columns::PersistentConnections => {
            "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n  \
             -> RemoteAddress:Port"
        }
        Columns::Thresholds => {
            "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  \
             -> RemoteAddress:Port"
        }
        Columns::Rate => {
            "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  \
             -> RemoteAddress:Port"
        }
        Columns::Stats => {
            "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
             -> RemoteAddress:Port"
        }
    }
}

fn write_service(
    out: &mut impl Write,
    service: &ListedService,
    list: &ServiceList,
    labels: &mut Labels<'_>,
) -> io::Result<()> {
    let name = name(service, labels);
    let protocol = protocol_name(service);
    match counters_of(&service.counters, list) {
        Some(counters) => writeln!(out, "{protocol:<4} {name:<28}{counters}"),
        None => writeln!(out, "{protocol:<4} {name} {}{}", service.scheduler, settings(service)),
    }
}

fn protocol_name(service: &ListedService) -> &'static str {
    match (service.mark, protocol_of(service)) {
        (Some(_), _) => "FWM",
        (None, Some(buoy_ipvs::Protocol::Tcp)) => "TCP",
        (None, Some(buoy_ipvs::Protocol::Udp)) => "UDP",
        (None, Some(buoy_ipvs::Protocol::Sctp)) => "SCTP",
        (None, None) => "IP",
    }
}

/// The address of a service, or its mark: ipvsadm writes marks as signed numbers.
fn name(service: &ListedService, labels: &mut Labels<'_>) -> String {
    match service.mark {
        None => labels.narrow(service.address, service.port, protocol_of(service)),
        Some(mark) => {
            let family = if service.family == Family::V6 { " IPv6" } else { "" };
            format!("{}{family}", mark.get().cast_signed())
        }
    }
}

/// What stands behind the scheduler, each with a blank before it.
fn settings(service: &ListedService) -> String {
    let mut settings = String::new();
    if service.flags != SchedulerFlags::NONE {
        settings += &format!(" ({})", flag_names(service));
    }
    if service.persistent {
        settings += &format!(" persistent {}", service.timeout);
        if service.has_netmask() {
            settings += &format!(" mask {}", netmask(service));
        }
        if !service.engine.is_empty() {
            settings += &format!(" pe {}", service.engine);
        }
    }
    if service.one_packet {
        settings += " ops";
    }
    settings
}

/// A mask, or the length of an IPv6 prefix.
pub(super) fn netmask(service: &ListedService) -> String {
    match service.family {
        Family::V4 => Ipv4Addr::from_bits(service.netmask).to_string(),
        Family::V6 => service.netmask.to_string(),
    }
}

/// The flags of the scheduler by its own names for them, which for some are fewer than there are flags.
pub(super) fn flag_names(service: &ListedService) -> String {
    let names = match service.scheduler.as_str() {
        "sh" => ["sh-fallback", "sh-port", ""],
        "mh" => ["mh-fallback", "mh-port", ""],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let SchedulerFlags { flag_1, flag_2, flag_3 } = service.flags;
    let set = names.into_iter().zip([flag_1, flag_2, flag_3]);
    let set: Vec<&str> = set.filter(|(name, set)| *set && !name.is_empty()).map(|(name, _)| name).collect();
    set.join(",")
}

/// What stands behind the address of a server.
fn columns_of(server: &ListedServer, list: &ServiceList) -> String {
    let ListedServer { weight, upper_threshold, lower_threshold, .. } = server;
    let Counters { active, inactive, persistent, .. } = server.counters;
    let method = server.forwarding.map_or("Unknown", Forwarding::name);
    match (list.columns, counters_of(&server.counters, list)) {
        (_, Some(counters)) => counters,
        (Columns::Tunnels, None) => {
            let tunnel = tunnel_info(server.forwarding);
            format!(" {method:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}")
        }
        (Columns::PersistentConnections, None) => {
            format!(" {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
        }
        (Columns::Thresholds, None) => {
            format!(" {upper_threshold:<10} {lower_threshold:<10} {active:<10} {inactive:<10}")
        }
        (Columns::Usual | Columns::Rate | Columns::Stats, None) => {
            format!(" {method:<7} {weight:<6} {active:<10} {inactive:<10}")
        }
    }
}

fn tunnel_info(forwarding: Option<Forwarding>) -> String {
    match forwarding {
        Some(Forwarding::Tunnel(Tunnel::Ipip)) => "ipip".to_owned(),
        Some(Forwarding::Tunnel(Tunnel::Gue { port, checksum })) => {
            format!("gue:{port}:{}", checksum_info(checksum))
        }
        Some(Forwarding::Tunnel(Tunnel::Gre { checksum })) => format!("gre:{}", checksum_info(checksum)),
        _ => "n/a".to_owned(),
    }
}

const fn checksum_info(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Full => "+c",
        TunnelChecksum::Remote => "r+c",
    }
}

/// The five counters of a listing of counters; `None` for others.
fn counters_of(counters: &Counters, list: &ServiceList) -> Option<String> {
    let numbers = match list.columns {
        Columns::Stats => [
            counters.connections,
            counters.packets_in,
            counters.packets_out,
            counters.bytes_in,
            counters.bytes_out,
        ],
        Columns::Rate => [
            counters.connections_per_second,
            counters.packets_in_per_second,
            counters.packets_out_per_second,
            counters.bytes_in_per_second,
            counters.bytes_out_per_second,
        ],
        Columns::Usual | Columns::Tunnels | Columns::PersistentConnections | Columns::Thresholds => {
            return None;
        }
    };
    let cell = |number| if list.exact { format!(" {number:>8}") } else { scaled(number) };
    Some(numbers.map(cell).concat())
}

/// A number in nine places: thousands, millions and so on of one that needs more than eight.
fn scaled(number: u64) -> String {
    const UNITS: [(u64, u64, char); 4] = [
        (100_000_000_000_000, 1_000_000_000_000, 'T'),
        (100_000_000_000, 1_000_000_000, 'G'),
        (1_000_000_000, 1_000_000, 'M'),
        (100_000_000, 1_000, 'K'),
    ];
    match UNITS.into_iter().find(|(least, _, _)| number >= *least) {
        Some((_, unit, letter)) => format!("{:>8}{letter}", number / unit),
        None => format!(" {number:>8}"),
    }
}

pub(super) fn write_timeouts(out: &mut impl Write, timeouts: &Timeouts) -> io::Result<()> {
    let seconds = |timeout: Option<std::time::Duration>| timeout.map_or(0, |timeout| timeout.as_secs());
    let Timeouts { tcp, tcp_fin, udp } = *timeouts;
    writeln!(out, "Timeout (tcp tcpfin udp): {} {} {}", seconds(tcp), seconds(tcp_fin), seconds(udp))
}

pub(super) fn write_daemons(out: &mut impl Write, daemons: &[SyncDaemon]) -> io::Result<()> {
    for daemon in daemons {
        writeln!(
            out,
            "{} sync daemon (mcast={}, syncid={}, maxlen={}, group={}, port={}, ttl={})",
            daemon.role,
            daemon.interface,
            daemon.sync_id,
            daemon.max_len.unwrap_or_default(),
            daemon.group.unwrap_or(SyncDaemon::DEFAULT_GROUP),
            daemon.port.unwrap_or(SyncDaemon::DEFAULT_PORT),
            daemon.ttl.unwrap_or(SyncDaemon::DEFAULT_TTL),
        )?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;

//! A table as the commands that make it.

use std::io::{self, Write};

use buoy_ipvs::{Family, Forwarding, ListedServer, ListedService, SchedulerFlags, Tunnel, TunnelChecksum};

use super::label::{Labels, protocol_of};
use super::listing::{flag_names, netmask};

/// Writes what `-R` reads, which ipvsadm's does too. Thresholds, which ipvsadm 1.31 leaves out of its own, are saved as
/// well.
pub(super) fn write_table(
    out: &mut impl Write,
    services: &[ListedService],
    labels: &mut Labels<'_>,
) -> io::Result<()> {
    for service in services {
        let name = name(service, labels);
        writeln!(out, "-A {name} -s {}{}", service.scheduler, settings(service))?;
        for server in &service.servers {
            let address = labels.endpoint(server.id.address, server.id.port, protocol_of(service));
            writeln!(out, "-a {name} -r {address} {}", way(server))?;
        }
    }
    Ok(())
}

fn name(service: &ListedService, labels: &mut Labels<'_>) -> String {
    if let Some(mark) = service.mark {
        let family = if service.family == Family::V6 { " -6" } else { "" };
        return format!("-f {}{family}", mark.get());
    }
    let protocol = protocol_of(service);
    let option = match protocol {
        Some(buoy_ipvs::Protocol::Udp) => "-u",
        Some(buoy_ipvs::Protocol::Sctp) => "--sctp-service",
        Some(buoy_ipvs::Protocol::Tcp) | None => "-t",
    };
    format!("{option} {}", labels.endpoint(service.address, service.port, protocol))
}

fn settings(service: &ListedService) -> String {
    let mut settings = String::new();
    if service.persistent {
        settings += &format!(" -p {}", service.timeout);
        if service.has_netmask() {
            settings += &format!(" -M {}", netmask(service));
        }
    }
    if !service.engine.is_empty() {
        settings += &format!(" --pe {}", service.engine);
    }
    if service.one_packet {
        settings += " -o";
    }
    // A flag that the scheduler has no name for would leave `-b` without a value.
    let flags = flag_names(service);
    if service.flags != SchedulerFlags::NONE && !flags.is_empty() {
        settings += &format!(" -b {flags}");
    }
    settings
}

/// Forwarding method, weight and what else a server has.
fn way(server: &ListedServer) -> String {
    let weight = server.weight;
    let mut way = match server.forwarding {
        // Full NAT is the engine's own, and masquerading what ipvsadm has that is most like it.
        Some(Forwarding::Masquerade | Forwarding::FullNat) => format!("-m -w {weight}"),
        Some(Forwarding::Tunnel(tunnel)) => format!("-i -w {weight} --tun-type {}", encapsulation(tunnel)),
        // ipvsadm has no option for the others, which nobody makes by it either.
        Some(Forwarding::Direct | Forwarding::Local | Forwarding::Bypass) | None => {
            format!("-g -w {weight}")
        }
    };
    for (option, threshold) in [("-x", server.upper_threshold), ("-y", server.lower_threshold)] {
        if threshold != 0 {
            way += &format!(" {option} {threshold}");
        }
    }
    way
}

fn encapsulation(tunnel: Tunnel) -> String {
    let option = |checksum| match checksum {
        TunnelChecksum::None => "--tun-nocsum",
        TunnelChecksum::Full => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    };
    match tunnel {
        Tunnel::Ipip => "ipip".to_owned(),
        Tunnel::Gue { port, checksum } => format!("gue --tun-port {port} {}", option(checksum)),
        Tunnel::Gre { checksum } => format!("gre {}", option(checksum)),
    }
}

#[cfg(test)]
mod tests;

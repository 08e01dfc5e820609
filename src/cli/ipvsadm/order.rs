//! The order in which ipvsadm shows a table.

use std::net::IpAddr;

use buoy_ipvs::{Family, ListedServer, ListedService};

/// Sorts services by mark, family, protocol, address and port, and their servers by address and port.
pub(super) fn sort(services: Vec<ListedService>) -> Vec<ListedService> {
    let mut services = merge_sort(services, &compare_services);
    for service in &mut services {
        service.servers = merge_sort(std::mem::take(&mut service.servers), &compare_servers);
    }
    services
}

fn compare_services(a: &ListedService, b: &ListedService) -> i32 {
    let mark = |service: &ListedService| service.mark.map_or(0, buoy_ipvs::FwMark::get);
    let keys = |service: &ListedService| {
        let family = match service.family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        [mark(service), family, service.protocol.into()]
            .into_iter()
            .chain(words_of(service.address))
            .chain([service.port.into()])
    };
    first_difference(keys(a), keys(b))
}

fn compare_servers(a: &ListedServer, b: &ListedServer) -> i32 {
    let keys = |server: &ListedServer| words_of(server.id.address).into_iter().chain([server.id.port.into()]);
    first_difference(keys(a), keys(b))
}

/// An address as 32-bit words; one of IPv4 is followed by zeros.
fn words_of(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [v4.to_bits(), 0, 0, 0],
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments().map(u32::from);
            [a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h]
        }
    }
}

/// ipvsadm takes the difference of two numbers as a signed one. It wraps, so that 192.168.0.1 stands before 10.0.0.1, and
/// both behind 127.0.0.1: what comes out depends on who is compared with whom.
fn first_difference(a: impl Iterator<Item = u32>, b: impl Iterator<Item = u32>) -> i32 {
    let mut differences = a.zip(b).map(|(a, b)| a.wrapping_sub(b).cast_signed());
    differences.find(|difference| *difference != 0).unwrap_or(0)
}

/// The merge sort of the C library, which compares the same pairs in the same order as ipvsadm's `qsort` does. The
/// standard library's sort wants an order without circles.
fn merge_sort<T>(mut items: Vec<T>, compare: &impl Fn(&T, &T) -> i32) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let second = items.split_off(items.len() / 2);
    let mut first = merge_sort(items, compare).into_iter().peekable();
    let mut second = merge_sort(second, compare).into_iter().peekable();
    let mut merged = Vec::with_capacity(first.len() + second.len());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let next = if compare(a, b) <= 0 { first.next() } else { second.next() };
        merged.extend(next);
    }
    merged.extend(first);
    merged.extend(second);
    merged
}

#[cfg(test)]
mod tests;

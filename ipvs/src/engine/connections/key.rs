//! What entries are found by, and where the index has them.

use crate::engine::address::Address;
use crate::engine::packet::{View, protocol};
use crate::sync::{Endpoint, TemplateProtocol};
use crate::virtual_service::{Family, FwMark, Protocol};

/// By which a packet finds its connection, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: u16,
    pub destination_port: u16,
    /// The IP protocol number.
    pub protocol: u8,
}

impl PacketKey {
    /// Of a packet that can belong to a connection: TCP, UDP and SCTP with ports. AH and ESP are taken for UDP from port
    /// 500 to port 500, which is where IKE has set them up.
    pub fn of(view: &View) -> Option<Self> {
        const ESP: u8 = 50;
        const AH: u8 = 51;
        const ISAKMP: u16 = 500;
        let (protocol, source_port, destination_port) = match (view.protocol, view.ports) {
            (protocol, Some(ports)) => (protocol, ports.source, ports.destination),
            (AH | ESP, None) => (protocol::UDP, ISAKMP, ISAKMP),
            _ => return None,
        };
        let (source, destination) = (view.source, view.destination);
        Some(Self { source, destination, source_port, destination_port, protocol })
    }

    /// What answers to these packets have.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// By which a client finds the persistence template that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateKey {
    protocol: TemplateProtocol,
    network: Address,
    service: Address,
    service_port: u16,
}

impl TemplateKey {
    /// For a service by address. Clients that agree in `prefix_len` leading bits share it. Services of port 0 and of FTP
    /// have port 0 here, and so share theirs.
    pub const fn of_service(
        protocol: Protocol,
        service: Endpoint<Address>,
        client: Address,
        prefix_len: u8,
    ) -> Self {
        Self {
            protocol: TemplateProtocol(protocol.number()),
            network: network(client, prefix_len),
            service: service.address,
            service_port: service.port,
        }
    }

    /// For a service by mark, whatever protocols and ports have it.
    pub fn of_mark(mark: FwMark, client: Address, prefix_len: u8) -> Self {
        let service = match client.family() {
            Family::V4 => Address::v4(mark.get()),
            Family::V6 => Address::v6(u128::from(mark.get()) << 96),
        };
        let network = network(client, prefix_len);
        Self { protocol: TemplateProtocol::IP, network, service, service_port: 0 }
    }

    /// As another director has told of it.
    pub const fn of_record(protocol: TemplateProtocol, network: Address, service: Endpoint<Address>) -> Self {
        Self { protocol, network, service: service.address, service_port: service.port }
    }

    pub const fn protocol(&self) -> TemplateProtocol {
        self.protocol
    }

    /// Of the clients; with port 0.
    pub const fn client(&self) -> Endpoint<Address> {
        Endpoint::new(self.network, 0)
    }

    pub const fn service(&self) -> Endpoint<Address> {
        Endpoint::new(self.service, self.service_port)
    }

    pub(super) const fn packet(&self) -> PacketKey {
        PacketKey {
            source: self.network,
            destination: self.service,
            source_port: 0,
            destination_port: self.service_port,
            protocol: self.protocol.0,
        }
    }
}

/// The leading bits of an address, as many as there are at most.
const fn network(address: Address, prefix_len: u8) -> Address {
    let bits = address.family().bits();
    let host_bits = bits.saturating_sub(prefix_len);
    // All of 128 bits is more than a shift can do.
    let host = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
    Address::v6(address.bits() & !host)
}

/// Kinds of entries, which never find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    /// Found with whatever port the client has, as port 0.
    WithoutClientPort,
    Template,
}

/// Where keys are in the index: a hash whose secret no client knows, so that none can choose keys that meet in a bucket.
///
/// The words of a key are multiplied in pairs after a secret was added to each (NH of UMAC, RFC 4418): two keys that are
/// chosen without knowledge of the secrets have the same sum of 128 bits once in 2^64 times, whichever they are. The
/// pair of the ports is their word twice, so that no step from port to port is as long as the next. Sums are folded by
/// one more product, which makes every bit depend on all. That is four multiplications, three of them side by side.
#[derive(Clone, Debug)]
pub(super) struct Secret([u64; 8]);

impl Secret {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        Self(std::array::from_fn(|_| random.u64(..)))
    }

    pub(super) const fn hash(&self, key: &PacketKey, kind: Kind) -> u64 {
        let [a, b, c, d, e, f, g, h] = self.0;
        let [source, destination] = [halves(key.source.bits()), halves(key.destination.bits())];
        let rest = key.source_port as u64
            | (key.destination_port as u64) << 16
            | (key.protocol as u64) << 32
            | (kind as u64) << 40;
        let sum = product(source[0].wrapping_add(a), source[1].wrapping_add(b))
            .wrapping_add(product(destination[0].wrapping_add(c), destination[1].wrapping_add(d)))
            .wrapping_add(product(rest.wrapping_add(e), rest.wrapping_add(f)));
        let [high, low] = halves(sum);
        let [high, low] = halves(product(high ^ g, low ^ h));
        high ^ low
    }
}

const fn product(a: u64, b: u64) -> u128 {
    a as u128 * b as u128
}

#[expect(clippy::cast_possible_truncation, reason = "one half is cut out of two")]
const fn halves(value: u128) -> [u64; 2] {
    [(value >> 64) as u64, value as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<std::net::IpAddr>().expect("an address").into()
    }

    fn secret(seed: u64) -> Secret {
        Secret::new(&mut fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn packets_that_can_belong_to_a_connection_have_a_key() {
        use crate::engine::packet::{Fragment, Ports};
        let view = |protocol, ports: Option<(u16, u16)>| View {
            family: Family::V4,
            source: address("192.0.2.1"),
            destination: address("10.9.0.1"),
            protocol,
            ttl: 64,
            class: 0,
            fragment: Fragment::Whole,
            dont_fragment: true,
            transport: 20,
            end: 60,
            ports: ports.map(|(source, destination)| Ports { source, destination }),
        };
        for (protocol, ports, expected) in [
            (6, Some((1024, 80)), Some((6, 1024, 80))),
            (17, Some((0, 53)), Some((17, 0, 53))),
            (132, Some((5, 6)), Some((132, 5, 6))),
            // Cut off, or a later fragment.
            (6, None, None),
            (50, None, Some((17, 500, 500))),
            (51, None, Some((17, 500, 500))),
            (1, None, None),
        ] {
            let key = PacketKey::of(&view(protocol, ports));
            let found = key.map(|key| (key.protocol, key.source_port, key.destination_port));
            assert_eq!(found, expected, "{protocol} {ports:?}");
        }
    }

    #[test]
    fn clients_of_one_network_share_a_template() {
        let service = Endpoint::new(address("10.9.0.1"), 80);
        let of = |client, len| TemplateKey::of_service(Protocol::Tcp, service, address(client), len).client();
        for (client, len, network) in [
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 24, "192.0.2.0"),
            ("192.0.2.77", 0, "0.0.0.0"),
            ("2001:db8::1:7", 112, "2001:db8::1:0"),
            ("2001:db8::1:7", 128, "2001:db8::1:7"),
            ("2001:db8::1:7", 0, "::"),
            ("192.0.2.77", 255, "192.0.2.77"),
        ] {
            assert_eq!(of(client, len).address, address(network), "{client}/{len}");
        }
    }

    #[test]
    fn marks_stand_in_the_first_four_bytes() {
        let mark = FwMark::new(0x0a0b_0c0d).expect("not zero");
        let service = |client| TemplateKey::of_mark(mark, address(client), 32).service();
        assert_eq!(service("192.0.2.1"), Endpoint::new(address("10.11.12.13"), 0));
        assert_eq!(service("2001:db8::1"), Endpoint::new(address("a0b:c0d::"), 0));
    }

    #[test]
    fn every_part_of_a_key_matters() {
        let key = PacketKey {
            source: address("192.0.2.1"),
            destination: address("10.9.0.1"),
            source_port: 1024,
            destination_port: 80,
            protocol: 6,
        };
        let others = [
            (PacketKey { source: address("192.0.2.2"), ..key }, Kind::Connection),
            (PacketKey { destination: address("10.9.0.2"), ..key }, Kind::Connection),
            (PacketKey { source_port: 1025, ..key }, Kind::Connection),
            (PacketKey { destination_port: 81, ..key }, Kind::Connection),
            (PacketKey { protocol: 17, ..key }, Kind::Connection),
            (key.reversed(), Kind::Connection),
            (key, Kind::WithoutClientPort),
            (key, Kind::Template),
        ];
        let secret_1 = secret(1);
        let hash = secret_1.hash(&key, Kind::Connection);
        for (other, kind) in others {
            assert_ne!(secret_1.hash(&other, kind), hash, "{other:?} {kind:?}");
        }
        assert_ne!(secret(2).hash(&key, Kind::Connection), hash);
    }

    /// Keys as clients choose them: in rows. With 9 in a bucket on average, no bucket of 2^12 should have 60.
    #[test]
    fn rows_of_keys_spread_like_random_ones() {
        const BUCKETS: u32 = 1 << 12;
        type Row = fn(u32) -> PacketKey;
        let rows: [(&str, Row); 4] = [
            ("ports of one client", |n| key(Address::v4(0xc000_0201), n & 0xffff, 80)),
            ("clients of a network", |n| key(Address::v4(0x0a00_0000 + n), 1024, 80)),
            ("subnets", |n| key(Address::v6(0x2001_0db8 << 96 | u128::from(n) << 64), 1024, 80)),
            ("virtual ports", |n| key(Address::v4(0xc000_0201), 1024, n & 0xffff)),
        ];
        for seed in 0..8 {
            let secret = secret(seed);
            for (name, row) in rows {
                let (mut low, mut tags) = (vec![0; BUCKETS as usize], vec![0; 256]);
                for number in 0..BUCKETS * 9 {
                    let hash = secret.hash(&row(number), Kind::Connection);
                    low[(hash & u64::from(BUCKETS - 1)) as usize] += 1;
                    tags[(hash >> 56) as usize] += 1;
                }
                let fullest = |of: &[u32]| of.iter().copied().max().expect("some");
                assert!(fullest(&low) < 60, "{name}: {}", fullest(&low));
                // 144 on average.
                assert!(fullest(&tags) < 250, "{name}: {}", fullest(&tags));
            }
        }
    }

    fn key(source: Address, source_port: u32, destination_port: u32) -> PacketKey {
        let port = |port| u16::try_from(port).expect("a port");
        PacketKey {
            source,
            destination: Address::v4(0x0a09_0001),
            source_port: port(source_port),
            destination_port: port(destination_port),
            protocol: 6,
        }
    }
}

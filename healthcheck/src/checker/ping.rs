//! `PING_CHECK`: an ICMP echo.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use pnet::packet::icmp::echo_request::MutableEchoRequestPacket as EchoV4;
use pnet::packet::icmp::{IcmpCode, IcmpPacket, IcmpType, IcmpTypes, checksum};
use pnet::packet::icmpv6::echo_request::MutableEchoRequestPacket as EchoV6;
use pnet::packet::icmpv6::{Icmpv6Code, Icmpv6Type, Icmpv6Types};
use serde::Serialize;
use socket2::{Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::deadline::{Deadlines, Failure, Limits};
use crate::outcome::{Findings, Outcome, Reason, Step};
use crate::target::{Target, connect_failure, report_errors, trouble};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PingCheck {
    /// Its port means nothing.
    pub target: Target,
    pub deadlines: Deadlines,
}

const HEADER: usize = 8;
/// As keepalived sends.
const LENGTH: usize = 128;
/// Begins the payload, and is how an answer is known.
const COOKIE: usize = 16;

impl PingCheck {
    pub(crate) async fn attempt(&self) -> Outcome {
        match self.ask(&Limits::start(self.deadlines)).await {
            Ok(()) => Outcome::Up(Findings::default()),
            Err(failure) => failure.into(),
        }
    }

    async fn ask(&self, limits: &Limits) -> Result<(), Failure> {
        let address = self.target.address;
        let (socket, kind) = self.socket().map_err(trouble)?;
        report_errors(&socket, address).map_err(trouble)?;
        // Any datagram socket will do for the runtime, which only sends and receives on it.
        let socket = UdpSocket::from_std(StdUdpSocket::from(socket)).map_err(trouble)?;
        let to = SocketAddr::new(address.ip(), 0);
        let to = if let (SocketAddr::V6(mut to), SocketAddr::V6(from)) = (to, address) {
            to.set_scope_id(from.scope_id());
            SocketAddr::V6(to)
        } else {
            to
        };
        socket.connect(to).await.map_err(|error| connect_failure(Step::Query, &error))?;
        let cookie = cookie();
        let sent = limits.step(Step::Query, socket.send(&echo_request(address, cookie))).await?;
        sent.map_err(|error| connect_failure(Step::Query, &error))?;
        let answered = limits.step(Step::Reply, await_reply(&socket, address, kind, cookie)).await?;
        answered.map_err(|error| Reason::of_io(Step::Reply, &error))?;
        Ok(())
    }

    /// A ping socket where the kernel lets our group have one, else a raw one.
    fn socket(&self) -> io::Result<(Socket, Type)> {
        let protocol = match self.target.address {
            SocketAddr::V4(_) => Protocol::ICMPV4,
            SocketAddr::V6(_) => Protocol::ICMPV6,
        };
        match self.target.socket(Type::DGRAM, protocol) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok((self.target.socket(Type::RAW, protocol)?, Type::RAW))
            }
            made => Ok((made?, Type::DGRAM)),
        }
    }
}

async fn await_reply(
    socket: &UdpSocket,
    address: SocketAddr,
    kind: Type,
    cookie: [u8; COOKIE],
) -> io::Result<()> {
    // Room for the header of IPv4, which a raw socket hands out, with all its options.
    let mut buffer = [0; LENGTH + 60];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let packet = buffer.get(..length).unwrap_or(&buffer);
        let icmp = if kind == Type::RAW && address.is_ipv4() { behind_ipv4(packet) } else { Some(packet) };
        if icmp.is_some_and(|icmp| is_reply(icmp, address, cookie)) {
            return Ok(());
        }
    }
}

fn behind_ipv4(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    packet.get(header..)
}

fn is_reply(icmp: &[u8], address: SocketAddr, cookie: [u8; COOKIE]) -> bool {
    let kind = match address {
        SocketAddr::V4(_) => IcmpTypes::EchoReply.0,
        SocketAddr::V6(_) => Icmpv6Types::EchoReply.0,
    };
    icmp.first() == Some(&kind) && icmp.get(HEADER..HEADER + COOKIE) == Some(&cookie)
}

/// A ping socket puts its own identifier in; over IPv6 the kernel makes the checksum.
fn echo_request(address: SocketAddr, cookie: [u8; COOKIE]) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    if let Some(payload) = packet.get_mut(HEADER..HEADER + COOKIE) {
        payload.copy_from_slice(&cookie);
    }
    let [a, b, c, d, ..] = cookie;
    let (identifier, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    match address {
        SocketAddr::V4(_) => {
            if let Some(mut echo) = EchoV4::new(&mut packet) {
                echo.set_icmp_type(IcmpType(IcmpTypes::EchoRequest.0));
                echo.set_icmp_code(IcmpCode(0));
                echo.set_identifier(identifier);
                echo.set_sequence_number(sequence);
            }
            let sum = IcmpPacket::new(&packet).map(|icmp| checksum(&icmp));
            if let (Some(sum), Some(mut echo)) = (sum, EchoV4::new(&mut packet)) {
                echo.set_checksum(sum);
            }
        }
        SocketAddr::V6(_) => {
            if let Some(mut echo) = EchoV6::new(&mut packet) {
                echo.set_icmpv6_type(Icmpv6Type(Icmpv6Types::EchoRequest.0));
                echo.set_icmpv6_code(Icmpv6Code(0));
                echo.set_identifier(identifier);
                echo.set_sequence_number(sequence);
            }
        }
    }
    packet
}

/// Unlike that of every other attempt, of this process or another.
fn cookie() -> [u8; COOKIE] {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mark = u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id());
    let mut cookie = [0; COOKIE];
    // The part that differs most comes first: identifier and sequence number are taken from there.
    for (to, from) in cookie.iter_mut().zip(attempt.to_le_bytes().into_iter().chain(mark.to_le_bytes())) {
        *to = from;
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_known_by_its_cookie() {
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let cookie = cookie();
        let mut packet = echo_request(address, cookie);
        assert!(!is_reply(&packet, address, cookie), "our own request is none");
        packet[0] = 0;
        assert!(is_reply(&packet, address, cookie));
        assert!(!is_reply(&packet, address, super::cookie()));
        assert!(!is_reply(&packet[..HEADER + 3], address, cookie));
        assert!(!is_reply(&[], address, cookie));
    }

    #[test]
    fn request_over_ipv4_has_a_right_checksum() {
        let packet = echo_request("127.0.0.1:0".parse().unwrap(), cookie());
        let words = packet.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn ipv4_header_of_any_length_is_passed_over() {
        assert_eq!(behind_ipv4(&[0x45; 21]), Some(&[0x45_u8][..]));
        assert_eq!(behind_ipv4(&[0x4f; 20]), None);
        assert_eq!(behind_ipv4(&[]), None);
    }
}

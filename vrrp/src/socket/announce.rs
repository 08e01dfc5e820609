use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::time::Duration;

use nix::libc;
use pnet::datalink::{
    self, Channel, ChannelType, Config, DataLinkReceiver, DataLinkSender, NetworkInterface,
};
use socket2::{Domain, SockFilter, Socket, Type};

use super::{Drain, During, Interface, SocketError, Step, set_priority};
use crate::gratuitous_arp::Claim;
use crate::identity::Family;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Enough for any ARP packet and for a neighbour advertisement with options.
const FRAME_MAX: usize = 512;
/// An address takes up to 16 bytes once the kernel has translated the filter, and while one filter replaces
/// another both count: so many fit into the 20 KiB that older kernels grant (`net.core.optmem_max`).
const WATCHED_MAX: usize = 500;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// A conditional jump of classic BPF leads no further.
const JUMP_MAX: usize = 255;

/// An `AF_PACKET` socket for the announcements of one family on one interface: sends frames, and hears who
/// else claims the watched addresses.
///
/// The kernel hands up only ARP packets and neighbour advertisements, and of those only the ones about
/// watched addresses: the ARP noise of a large network wakes nobody.
pub struct AnnounceSocket {
    /// Shares the open socket with the two halves of pnet's channel.
    socket: Socket,
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    interface: Interface,
    family: Family,
}

impl fmt::Debug for AnnounceSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AnnounceSocket");
        debug.field("interface", &self.interface).field("family", &self.family).finish_non_exhaustive()
    }
}

impl AnnounceSocket {
    /// Opens a socket on an Ethernet-like interface. It watches nothing yet.
    pub fn open(family: Family, interface: &Interface) -> Result<Self, SocketError> {
        // Protocol 0 receives nothing until pnet binds the socket to interface and protocol, by which time
        // the filter is there.
        let kind = Type::RAW.nonblocking();
        let socket = Socket::new(Domain::PACKET, kind, Some(0.into())).during(Step::Open)?;
        socket.attach_filter(&filter(family, &[])).during(Step::AttachFilter)?;
        set_priority(&socket)?;
        let shared = socket.try_clone().during(Step::Open)?;
        let ethertype = match family {
            Family::V4 => ETHERTYPE_ARP,
            Family::V6 => ETHERTYPE_IPV6,
        };
        let config = Config {
            write_buffer_size: 0,
            read_buffer_size: FRAME_MAX,
            read_timeout: Some(Duration::ZERO),
            write_timeout: Some(Duration::ZERO),
            // Only chooses the protocol to bind to; the socket stays one for whole frames.
            channel_type: ChannelType::Layer3(ethertype),
            promiscuous: false,
            socket_fd: Some(shared.into_raw_fd()),
            ..Config::default()
        };
        let channel = datalink::channel(&network_interface(interface), config);
        let (sender, receiver) = match channel.during(Step::BindToDevice(interface.name.clone()))? {
            Channel::Ethernet(sender, receiver) => (sender, receiver),
            _ => return Err(io::Error::from(io::ErrorKind::Unsupported)).during(Step::Open),
        };
        Ok(Self { socket, sender, receiver, interface: interface.clone(), family })
    }

    /// Hears claims of these addresses from now on; addresses of the other family are left out. Where there are
    /// more than 500, or more than the kernel has memory for, every claim on the link is heard.
    pub fn watch(&self, addresses: &[IpAddr]) -> Result<(), SocketError> {
        let ours: Vec<IpAddr> = addresses.iter().copied().filter(|a| Family::of(*a) == self.family).collect();
        let attached = match ours.len() {
            0..=WATCHED_MAX => self.socket.attach_filter(&filter(self.family, &ours)),
            _ => self.socket.attach_filter(&every_claim(self.family)),
        };
        match attached {
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => {
                self.socket.attach_filter(&every_claim(self.family)).during(Step::AttachFilter)
            }
            other => other.during(Step::AttachFilter),
        }
    }

    /// Sends a frame made by [`gratuitous_arp`](crate::gratuitous_arp) or
    /// [`unsolicited_na`](crate::unsolicited_na). A full send buffer is an error of kind `TimedOut`.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), SocketError> {
        let sent = self.sender.send_to(frame, None);
        sent.unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into())).during(Step::Send)
    }

    /// Reads at most `frames` frames, so that a flood cannot hold the caller, and tells `hear` of the claims in
    /// them, also of those that we made ourselves on another interface. Few for addresses that are not watched
    /// may come along.
    pub fn read_claims(&mut self, frames: usize, mut hear: impl FnMut(Claim)) -> Result<Drain, SocketError> {
        for _ in 0..frames {
            match self.receiver.next() {
                Ok(frame) => Claim::read(frame).into_iter().for_each(&mut hear),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                    return Ok(Drain::Empty);
                }
                Err(e) => return Err(e).during(Step::Receive),
            }
        }
        Ok(Drain::More)
    }
}

impl AsFd for AnnounceSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn network_interface(interface: &Interface) -> NetworkInterface {
    NetworkInterface {
        name: interface.name.to_string(),
        description: String::new(),
        index: interface.index,
        mac: None,
        ips: Vec::new(),
        flags: 0,
    }
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, k: u32) -> SockFilter {
    SockFilter::new(code as u16, jump_true, jump_false, k)
}

fn accept() -> SockFilter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX)
}

fn drop_frame() -> SockFilter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0)
}

fn load(size: u32, at: u32) -> SockFilter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at)
}

/// Classic BPF over an Ethernet frame: goes on where it is a claim, and drops everything else.
fn is_claim(family: Family) -> Vec<SockFilter> {
    let conditions = match family {
        // Ethernet and IPv4 with their address lengths.
        Family::V4 => [(libc::BPF_H, 16, 0x0800), (libc::BPF_H, 18, 0x0604)],
        // Next header ICMPv6, type neighbour advertisement.
        Family::V6 => [(libc::BPF_B, 20, 58), (libc::BPF_B, 54, 136)],
    };
    let must_be = |(size, at, value)| [load(size, at), instruction(JUMP_IF_EQUAL, 1, 0, value), drop_frame()];
    conditions.into_iter().flat_map(must_be).collect()
}

fn every_claim(family: Family) -> Vec<SockFilter> {
    let mut program = is_claim(family);
    program.push(accept());
    program
}

/// Accepts claims whose address ends with the last word of a watched one. Different IPv6 addresses may share that
/// word, which lets a few frames too many through.
fn filter(family: Family, watched: &[IpAddr]) -> Vec<SockFilter> {
    let address_at = match family {
        Family::V4 => 28,
        Family::V6 => 74,
    };
    let mut program = is_claim(family);
    program.push(load(libc::BPF_W, address_at));
    // Each stretch ends with the one instruction that its addresses jump to.
    for stretch in watched.chunks(JUMP_MAX) {
        for (to_accept, address) in (0..=u8::MAX).take(stretch.len()).rev().zip(stretch) {
            let last_word = match address {
                IpAddr::V4(a) => u32::from(*a),
                IpAddr::V6(a) => (u128::from(*a) & u128::from(u32::MAX)) as u32,
            };
            let otherwise = u8::from(to_accept == 0);
            program.push(instruction(JUMP_IF_EQUAL, to_accept, otherwise, last_word));
        }
        program.push(accept());
    }
    program.push(drop_frame());
    program
}

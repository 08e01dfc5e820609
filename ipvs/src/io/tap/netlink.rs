//! What is set up over netlink: the ioctl for the queue is for the initial user namespace alone.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ERROR, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::kernel::{error_of, frames};

/// Has so many packets wait at most.
pub(super) fn set_length(interface: u32, packets: u32) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = interface;
    link.attributes.push(LinkAttribute::TxQueueLen(packets));
    ask(RouteNetlinkMessage::SetLink(link), 0)
}

/// Gives the interface an address that is no other host's concern.
pub(super) fn add_address(interface: u32, address: Ipv4Addr) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = interface;
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.scope = AddressScope::Host;
    message.attributes.push(AddressAttribute::Local(address.into()));
    ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.send(&bytes, 0)?;
    let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for frame in frames(&datagram) {
            let frame = frame.map_err(malformed)?;
            if frame.kind == NLMSG_ERROR {
                return error_of(frame.payload).map_err(malformed)?.map_or(Ok(()), |errno| Err(errno.into()));
            }
        }
    }
}

//! How much may wait in the TAP. Over netlink, for the ioctl is for the initial user namespace alone.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkHeader, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::kernel::{error_of, frames};

/// Has so many packets wait at most.
pub(super) fn set_length(interface: u32, packets: u32) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = interface;
    link.attributes.push(LinkAttribute::TxQueueLen(packets));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = NetlinkMessage::new(header, RouteNetlinkMessage::SetLink(link).into());
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

//! Programs as filters of the queueing discipline `clsact`: what kernels have that have no tcx.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkHeader,
    NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::program::Program;
use crate::kernel::{error_of, frames};

/// Filters with lower numbers run earlier: there is room for those that mark packets.
const PRIORITY: u16 = 1000;
/// Our filter among those of one priority: always the same, so that it takes the place of one that was left behind.
const HANDLE: u32 = 0x6275_6f79;
/// Of every protocol (`linux/if_ether.h`).
const ETH_P_ALL: u16 = 3;
/// What the kernel shows of the filter.
const NAME: &str = "buoy";

const INGRESS: TcHandle = TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS };
const EGRESS: TcHandle = TcHandle { major: u16::MAX, minor: TcHandle::MIN_EGRESS };

/// The filter, removed when this is dropped; with it the queueing discipline, if it came with it and nobody else has
/// begun to use it.
pub(super) struct Filter {
    socket: Socket,
    interface: i32,
    discipline_is_ours: bool,
}

impl Filter {
    pub(super) fn new(program: &Program, interface: u32) -> io::Result<Self> {
        let interface = i32::try_from(interface).map_err(|_| Errno::ENODEV)?;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut filter = Self { socket, interface, discipline_is_ours: false };
        let create = RouteNetlinkMessage::NewQueueDiscipline(filter.discipline());
        filter.discipline_is_ours = match filter.request(create, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK) {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => false,
            Err(error) => return Err(error),
        };
        filter.replace(program)?;
        Ok(filter)
    }

    /// Adds the filter, or gives it another program.
    pub(super) fn replace(&self, program: &Program) -> io::Result<()> {
        let options = vec![
            TcFilterBpfOption::ProgFd(program.fd().as_raw_fd().unsigned_abs()),
            TcFilterBpfOption::ProgName(NAME.to_owned()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        let mut message = self.filter();
        message.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
        self.request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_ACK).map(drop)
    }

    fn discipline(&self) -> TcMessage {
        let header = TcHeader {
            index: self.interface,
            handle: TcHandle { major: u16::MAX, minor: 0 },
            parent: TcHandle::CLSACT,
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".to_owned())])
    }

    fn filter(&self) -> TcMessage {
        let header = TcHeader {
            index: self.interface,
            handle: HANDLE.into(),
            parent: INGRESS,
            info: u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be()),
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, vec![TcAttribute::Kind("bpf".to_owned())])
    }

    /// Whether the discipline has filters on that side.
    fn has_filters(&self, side: TcHandle) -> io::Result<bool> {
        let header = TcHeader { index: self.interface, parent: side, ..TcHeader::default() };
        let message = RouteNetlinkMessage::GetTrafficFilter(TcMessage::from_parts(header, Vec::new()));
        self.request(message, NLM_F_DUMP).map(|answers| answers > 0)
    }

    /// Sends a request and says how many messages came in answer, acknowledgements aside.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<usize> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut answers = 0;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for frame in frames(&datagram) {
                let frame = frame.map_err(malformed)?;
                if frame.kind == NLMSG_ERROR || frame.kind == NLMSG_DONE {
                    return match error_of(frame.payload).map_err(malformed)? {
                        Some(errno) => Err(errno.into()),
                        None => Ok(answers),
                    };
                }
                answers += 1;
            }
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // What fails here fails because the interface is gone, and the filter with it.
        drop(self.request(RouteNetlinkMessage::DelTrafficFilter(self.filter()), NLM_F_ACK));
        let others = [INGRESS, EGRESS].map(|side| self.has_filters(side));
        if self.discipline_is_ours && others.iter().all(|others| matches!(others, Ok(false))) {
            drop(self.request(RouteNetlinkMessage::DelQueueDiscipline(self.discipline()), NLM_F_ACK));
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("interface", &self.interface).finish_non_exhaustive()
    }
}

//! Where routers send and listen: sockets, shared where they can be, and the packets to send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::action::RouterId;
use crate::advertisement::AdvertisementFrame;
use crate::identity::{Family, Priority, Vrid};
use crate::receive::Receiver;
use crate::settings::{Authentication, OldUnicastChecksum, RouterSettings, Transport};
use crate::socket::{Carrier, Interface, Listen, ReceiveSocket, SendSocket};

/// Receive buffer of every socket, in bytes, whatever the shares of its routers: a segment may be busy with others.
const BUFFER_MIN: usize = 1 << 20;

/// Where one router sends from and listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub source: IpAddr,
    /// Interface of the packets; absent for unicast that follows the routes.
    pub interface: Option<Interface>,
    /// Receive buffer in bytes for this router's share of its socket.
    pub buffer: usize,
}

/// One router's part in the traffic.
#[derive(Debug)]
pub(super) struct RouterIo {
    pub(super) key: Arc<str>,
    pub(super) receiver: Receiver,
    /// Where it is to send and listen, also while its sockets cannot be opened.
    endpoint: Option<Endpoint>,
    /// Indices of its sockets.
    receive: Option<u64>,
    send: Option<usize>,
    /// One packet per destination, patched and sent again and again.
    frames: Vec<AdvertisementFrame>,
    old_checksum: bool,
    send_failing: bool,
    /// The batch that its frames are part of already.
    batch: u64,
}

impl RouterIo {
    pub(super) fn new(key: Arc<str>, settings: &RouterSettings) -> Self {
        Self {
            key,
            receiver: Receiver::new(settings),
            endpoint: None,
            receive: None,
            send: None,
            frames: Vec::new(),
            old_checksum: false,
            send_failing: false,
            batch: 0,
        }
    }

    /// The settings have changed.
    pub(super) fn update(&mut self, settings: &RouterSettings) {
        self.receiver.update(settings);
        self.old_checksum &= settings.old_unicast_checksum != OldUnicastChecksum::Never;
    }

    pub(super) fn use_old_unicast_checksum(&mut self) {
        if !self.old_checksum {
            self.old_checksum = true;
            self.frames.iter_mut().for_each(AdvertisementFrame::use_old_unicast_checksum);
        }
    }

    fn make_frames(&mut self, settings: &RouterSettings) -> Result<(), String> {
        let sequences: Vec<Option<u32>> = self.frames.iter().map(AdvertisementFrame::sequence).collect();
        self.frames.clear();
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let make = |destination| {
            AdvertisementFrame::new(settings, endpoint.source, destination).map_err(|e| e.to_string())
        };
        self.frames = match &settings.transport {
            Transport::Multicast { group } => vec![make(*group)?],
            Transport::Unicast(unicast) => {
                unicast.peers.iter().map(|p| make(p.address)).collect::<Result<_, _>>()?
            }
        };
        // Receivers refuse sequence numbers that do not grow, also over a restart of ours.
        let last = sequences.into_iter().flatten().max().unwrap_or_else(fresh_sequence);
        for frame in &mut self.frames {
            frame.set_sequence(last);
            if self.old_checksum {
                frame.use_old_unicast_checksum();
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Listening {
    listen: Listen,
    carrier: Carrier,
    socket: ReceiveSocket,
    /// The shares of its routers, in bytes.
    buffer: usize,
    /// Routers by VRID; several only for unicast, where the peer tells them apart.
    routers: BTreeMap<Vrid, Vec<RouterId>>,
}

#[derive(Debug)]
struct Sending {
    family: Family,
    interface: Option<Interface>,
    socket: SendSocket,
    users: usize,
}

/// All sockets and all routers' parts.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    routers: Vec<Option<RouterIo>>,
    /// By the token under which epoll knows them; tokens are never used twice.
    listening: BTreeMap<u64, Listening>,
    next_token: u64,
    sending: Vec<Option<Sending>>,
    /// Routers that could not be attached to their endpoint.
    failed: BTreeSet<RouterId>,
    batch: u64,
    scratch: Scratch,
}

/// Room for one batch, kept so that sending does not allocate.
#[derive(Debug, Default)]
struct Scratch {
    together: Vec<RouterId>,
    by_socket: Vec<(usize, RouterId)>,
    failures: Vec<(RouterId, String)>,
}

impl Endpoints {
    pub(super) fn add(&mut self, id: RouterId, io: RouterIo) {
        if self.routers.len() <= id.index() {
            self.routers.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.routers.get_mut(id.index()) {
            *slot = Some(io);
        }
    }

    pub(super) fn remove(&mut self, id: RouterId, epoll: &Epoll) -> Option<Arc<str>> {
        self.detach(id, epoll);
        self.failed.remove(&id);
        let io = self.routers.get_mut(id.index()).and_then(Option::take)?;
        Some(io.key)
    }

    pub(super) fn key(&self, id: RouterId) -> Option<Arc<str>> {
        self.router(id).map(|io| Arc::clone(&io.key))
    }

    pub(super) fn router(&self, id: RouterId) -> Option<&RouterIo> {
        self.routers.get(id.index()).and_then(Option::as_ref)
    }

    pub(super) fn router_mut(&mut self, id: RouterId) -> Option<&mut RouterIo> {
        self.routers.get_mut(id.index()).and_then(Option::as_mut)
    }

    pub(super) fn clear_counters(&mut self) {
        self.routers.iter_mut().flatten().for_each(|io| io.receiver.clear_counters());
    }

    pub(super) fn receiver(&mut self, token: u64) -> Option<&mut ReceiveSocket> {
        self.listening.get_mut(&token).map(|l| &mut l.socket)
    }

    /// Packets that the kernel dropped for want of room in open sockets.
    pub(super) fn lost(&self) -> u64 {
        self.listening.values().map(|l| u64::from(l.socket.lost())).sum()
    }

    /// The router that a packet on this socket is for.
    pub(super) fn find(&self, token: u64, vrid: Vrid, from: IpAddr) -> Option<RouterId> {
        let candidates = self.listening.get(&token)?.routers.get(&vrid)?;
        match candidates.as_slice() {
            [only] => Some(*only),
            several => {
                let knows = |id: &&RouterId| {
                    self.router(**id)
                        .is_some_and(|io| io.frames.iter().any(|frame| frame.destination() == from))
                };
                several.iter().find(knows).or(several.first()).copied()
            }
        }
    }

    /// Another place to send and listen, for [`attach`](Self::attach) to open. An equal one changes nothing.
    pub(super) fn set(&mut self, id: RouterId, endpoint: Option<Endpoint>, epoll: &Epoll) {
        if self.router(id).is_none_or(|io| io.endpoint == endpoint) {
            return;
        }
        self.detach(id, epoll);
        self.failed.remove(&id);
        if let Some(io) = self.router_mut(id) {
            io.endpoint = endpoint;
        }
    }

    /// Makes sockets and packets fit the endpoint and `settings`. Sockets that fit already stay open.
    pub(super) fn attach(
        &mut self,
        id: RouterId,
        settings: &RouterSettings,
        epoll: &Epoll,
    ) -> Result<(), String> {
        let attached = self.try_attach(id, settings, epoll);
        match attached {
            Ok(()) => self.failed.remove(&id),
            Err(_) => self.failed.insert(id),
        };
        attached
    }

    /// Routers to be attached again: what kept them from it may pass.
    pub(super) fn failed(&self) -> &BTreeSet<RouterId> {
        &self.failed
    }

    fn try_attach(&mut self, id: RouterId, settings: &RouterSettings, epoll: &Epoll) -> Result<(), String> {
        let Some(io) = self.router_mut(id) else { return Ok(()) };
        let Some(endpoint) = io.endpoint.clone() else {
            io.frames.clear();
            return Ok(());
        };
        if !self.is_attached(id, settings, &endpoint) {
            self.detach(id, epoll);
            let receive = self.open_receive(id, settings, &endpoint, epoll)?;
            let send = match self.open_send(settings.family, endpoint.interface.as_ref()) {
                Ok(send) => send,
                Err(error) => {
                    self.leave(id, receive, epoll);
                    return Err(error);
                }
            };
            let Some(io) = self.router_mut(id) else { return Ok(()) };
            (io.receive, io.send) = (Some(receive), Some(send));
        }
        self.router_mut(id).map_or(Ok(()), |io| io.make_frames(settings))
    }

    /// Whether its sockets are the ones that `settings` ask for, and its packets are found on them.
    fn is_attached(&self, id: RouterId, settings: &RouterSettings, endpoint: &Endpoint) -> bool {
        let receive = self.router(id).and_then(|io| io.receive);
        let Some(listening) = receive.and_then(|token| self.listening.get(&token)) else { return false };
        listening.listen == listen(settings, endpoint)
            && listening.carrier == carrier(settings)
            && listening.routers.get(&settings.vrid).is_some_and(|ids| ids.contains(&id))
    }

    fn open_receive(
        &mut self,
        id: RouterId,
        settings: &RouterSettings,
        endpoint: &Endpoint,
        epoll: &Epoll,
    ) -> Result<u64, String> {
        let listen = listen(settings, endpoint);
        let carrier = carrier(settings);
        let known = self.listening.iter().find(|(_, l)| l.listen == listen && l.carrier == carrier);
        let token = match known.map(|(token, _)| *token) {
            Some(token) => token,
            None => {
                let socket = ReceiveSocket::open(&listen, carrier, BUFFER_MIN).map_err(|e| chain(&e))?;
                let token = self.next_token;
                self.next_token += 1;
                epoll
                    .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token))
                    .map_err(|e| format!("cannot poll the socket: {e}"))?;
                let listening = Listening { listen, carrier, socket, buffer: 0, routers: BTreeMap::new() };
                self.listening.insert(token, listening);
                token
            }
        };
        if let Some(listening) = self.listening.get_mut(&token) {
            listening.routers.entry(settings.vrid).or_default().push(id);
            listening.buffer = listening.buffer.saturating_add(endpoint.buffer);
            if listening.buffer > BUFFER_MIN {
                listening.socket.set_buffer(listening.buffer).map_err(|e| chain(&e))?;
            }
        }
        Ok(token)
    }

    fn open_send(&mut self, family: Family, interface: Option<&Interface>) -> Result<usize, String> {
        let fits = |s: &Sending| s.family == family && s.interface.as_ref() == interface;
        if let Some(index) = self.sending.iter().position(|s| s.as_ref().is_some_and(fits)) {
            if let Some(Some(sending)) = self.sending.get_mut(index) {
                sending.users += 1;
            }
            return Ok(index);
        }
        let socket = SendSocket::open(family, interface).map_err(|e| chain(&e))?;
        let sending = Sending { family, interface: interface.cloned(), socket, users: 1 };
        let index = self.sending.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sending.push(None);
            self.sending.len() - 1
        });
        if let Some(slot) = self.sending.get_mut(index) {
            *slot = Some(sending);
        }
        Ok(index)
    }

    fn detach(&mut self, id: RouterId, epoll: &Epoll) {
        let Some(io) = self.router_mut(id) else { return };
        let (receive, send) = (io.receive.take(), io.send.take());
        if let Some(token) = receive {
            self.leave(id, token, epoll);
        }
        if let Some(slot) = send.and_then(|index| self.sending.get_mut(index))
            && let Some(sending) = slot
        {
            sending.users -= 1;
            if sending.users == 0 {
                *slot = None;
            }
        }
    }

    fn leave(&mut self, id: RouterId, token: u64, epoll: &Epoll) {
        let share = self.router(id).and_then(|io| io.endpoint.as_ref()).map_or(0, |endpoint| endpoint.buffer);
        let Some(listening) = self.listening.get_mut(&token) else { return };
        listening.buffer = listening.buffer.saturating_sub(share);
        listening.routers.retain(|_, ids| {
            ids.retain(|other| *other != id);
            !ids.is_empty()
        });
        if listening.routers.is_empty()
            && let Some(listening) = self.listening.remove(&token)
        {
            // Closing does the same.
            let _closed_anyway = epoll.delete(&listening.socket);
        }
    }

    /// Sends one advertisement of each router in `sends`, with few system calls. `outcome` hears when sending
    /// begins to fail and when it works again.
    pub(super) fn send(
        &mut self,
        sends: impl Iterator<Item = (RouterId, Priority)>,
        mut outcome: impl FnMut(RouterId, Result<(), String>),
    ) {
        let mut together = std::mem::take(&mut self.scratch.together);
        self.batch += 1;
        for (id, priority) in sends {
            let batch = self.batch;
            let queued = self.router(id).is_some_and(|io| io.batch == batch);
            if queued {
                // Its packet is spoken for with another priority: that one goes first.
                self.flush(&together, &mut outcome);
                together.clear();
                self.batch += 1;
            }
            let batch = self.batch;
            let Some(io) = self.router_mut(id) else { continue };
            io.batch = batch;
            for frame in &mut io.frames {
                frame.set_priority(priority);
                frame.advance();
            }
            together.push(id);
        }
        self.flush(&together, &mut outcome);
        together.clear();
        self.scratch.together = together;
    }

    fn flush(&mut self, routers: &[RouterId], outcome: &mut impl FnMut(RouterId, Result<(), String>)) {
        let Scratch { mut by_socket, mut failures, .. } = std::mem::take(&mut self.scratch);
        by_socket.extend(routers.iter().filter_map(|id| Some((self.router(*id)?.send?, *id))));
        by_socket.sort_by_key(|(socket, _)| *socket);
        for run in by_socket.chunk_by(|(a, _), (b, _)| a == b) {
            let socket = run.first().and_then(|(index, _)| self.sending.get(*index)?.as_ref());
            let Some(Sending { socket, .. }) = socket else { continue };
            if let [(_, id)] = run
                && let Some([only]) = self.router(*id).map(|io| io.frames.as_slice())
            {
                failures.extend(socket.send(only.packet()).err().map(|error| (*id, chain(&error))));
                continue;
            }
            let mut owners = Vec::with_capacity(run.len());
            let mut packets = Vec::with_capacity(run.len());
            for (_, id) in run {
                for frame in self.router(*id).map_or(&[][..], |io| &io.frames) {
                    owners.push(*id);
                    packets.push(frame.packet());
                }
            }
            let failed = |at: usize, error| {
                if let Some(id) = owners.get(at) {
                    failures.push((*id, chain(&error)));
                }
            };
            socket.send_batch(&packets, failed);
        }
        for id in routers {
            let failure = failures.iter().find(|(failed, _)| failed == id).map(|(_, error)| error.clone());
            let Some(io) = self.router_mut(*id) else { continue };
            let was_failing = std::mem::replace(&mut io.send_failing, failure.is_some());
            match failure {
                Some(error) if !was_failing => outcome(*id, Err(error)),
                None if was_failing => outcome(*id, Ok(())),
                Some(_) | None => {}
            }
        }
        by_socket.clear();
        failures.clear();
        self.scratch = Scratch { together: Vec::new(), by_socket, failures };
    }
}

fn listen(settings: &RouterSettings, endpoint: &Endpoint) -> Listen {
    match (&settings.transport, &endpoint.interface) {
        (Transport::Multicast { group }, Some(interface)) => {
            Listen::Group { group: *group, interface: interface.clone() }
        }
        (_, interface) => Listen::Unicast { local: endpoint.source, interface: interface.clone() },
    }
}

fn carrier(settings: &RouterSettings) -> Carrier {
    match settings.authentication {
        Authentication::AuthenticationHeader(_) => Carrier::AuthenticationHeader,
        Authentication::None | Authentication::Password(_) => Carrier::Plain,
    }
}

/// Where a sequence starts: above everything that an earlier run of ours can have sent, as long as that was no more
/// than four packets a second. Counts from the beginning of 2024 and lasts until 2058.
fn fresh_sequence() -> u32 {
    const EPOCH: Duration = Duration::from_secs(1_704_067_200);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap_or_default();
    u32::try_from(since.as_millis() / 250).unwrap_or(0)
}

/// An error with its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

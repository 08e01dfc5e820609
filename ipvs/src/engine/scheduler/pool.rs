use super::server::Server;

/// The place of a server where all of them are kept. It stays as long as anything refers to the server, also after its
/// removal from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerIndex(u32);

impl ServerIndex {
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The servers of one service, the newest first. That order decides between equals, and fills the tables of hashes.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    order: &'a [ServerIndex],
    servers: &'a [Server],
}

impl<'a> Pool<'a> {
    /// `order` says which of `servers` belong to the service. What it names and is not there is passed over.
    pub const fn new(order: &'a [ServerIndex], servers: &'a [Server]) -> Self {
        Self { order, servers }
    }

    pub const fn len(self) -> usize {
        self.order.len()
    }

    pub const fn is_empty(self) -> bool {
        self.order.is_empty()
    }

    /// A server of this or another service.
    pub fn server(self, index: ServerIndex) -> Option<&'a Server> {
        self.servers.get(usize::try_from(index.0).ok()?)
    }

    /// The server at a place in the list.
    pub(super) fn at(self, position: usize) -> Option<(ServerIndex, &'a Server)> {
        let index = *self.order.get(position)?;
        self.server(index).map(|server| (index, server))
    }

    /// In the order of the list.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = (ServerIndex, &'a Server)> + Clone {
        self.order.iter().filter_map(move |index| self.server(*index).map(|server| (*index, server)))
    }

    /// Those that take new connections.
    pub(super) fn usable(self) -> impl Iterator<Item = (ServerIndex, &'a Server)> + Clone {
        self.iter().filter(|(_, server)| server.is_usable())
    }

    /// The server, if it takes new connections.
    pub(super) fn if_usable(self, index: ServerIndex) -> Option<ServerIndex> {
        self.server(index).filter(|server| server.is_usable()).map(|_| index)
    }
}

//! Servers that are dead for a silence which may be that of this host's own network.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::checks::ServerKey;

/// Doubt ends after this time, whatever is known. The kernel remembers no connection longer that has no traffic, unless
/// `lvs_timeouts` says so, and packets to a server that is not there are no traffic: so this gives up nothing that is left,
/// and yet no server that stays away without a witness keeps the doubt for ever.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// While there is any, connections to servers that are removed are kept: they may live on at the peer.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    servers: BTreeSet<ServerKey>,
    end: Option<Instant>,
}

impl Doubt {
    /// What is known of a server.
    pub(super) fn note(&mut self, server: ServerKey, doubted: bool, now: Instant) {
        if !doubted {
            self.servers.remove(&server);
        } else if self.servers.insert(server) {
            self.end = Some(now + LIMIT);
        }
        self.end.take_if(|_| self.servers.is_empty());
    }

    /// Forgets servers that are not there any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&ServerKey) -> bool) {
        self.servers.retain(is_there);
        self.end.take_if(|_| self.servers.is_empty());
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.end.take_if(|end| *end <= now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.end
    }

    /// How many servers are doubted.
    pub(super) fn servers(&self) -> usize {
        if self.end.is_some() { self.servers.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use buoy_ipvs::RealServerId;

    use super::*;

    fn server(last: u8) -> ServerKey {
        ("web".into(), RealServerId { address: [10, 1, 0, last].into(), port: 80 })
    }

    #[test]
    fn doubt_is_over_with_its_last_server() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        doubt.note(server(1), false, now);
        assert_eq!((doubt.servers(), doubt.poll_timeout()), (0, None));
        doubt.note(server(1), true, now);
        doubt.note(server(2), true, now);
        doubt.note(server(1), false, now);
        assert_eq!(doubt.servers(), 1);
        doubt.retain(|server| server.1.port != 80);
        assert_eq!((doubt.servers(), doubt.poll_timeout()), (0, None));
    }

    #[test]
    fn doubt_without_a_witness_ends_and_begins_anew_with_another_server_alone() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        doubt.note(server(1), true, now);
        let end = doubt.poll_timeout().expect("it has an end");
        doubt.note(server(1), true, end - Duration::from_secs(1));
        assert_eq!(doubt.poll_timeout(), Some(end), "told again, it is no other doubt");
        doubt.handle_timeout(end);
        doubt.note(server(1), true, end);
        assert_eq!((doubt.servers(), doubt.poll_timeout()), (0, None));
        doubt.note(server(2), true, end);
        assert_eq!((doubt.servers(), doubt.poll_timeout()), (2, Some(end + LIMIT)));
    }
}

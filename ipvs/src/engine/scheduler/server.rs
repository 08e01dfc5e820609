use crate::real_server::{RealServer, RealServerId};

/// What a scheduler sees of a real server: its weight, its connections, and whether it takes more.
///
/// # Thresholds
/// A server that reaches its upper threshold is overloaded, and gets no new connection until it is below its lower one.
/// Here is the rule of Linux up to 6.1.182 and 6.12.103: [`bind`](Self::bind) marks the server when its connections are
/// as many as the upper threshold or more; [`unbind`](Self::unbind) unmarks it when they are fewer than the lower
/// threshold, or than three quarters of the upper one where there is no lower; [`edit`](Self::edit) unmarks it when the
/// upper threshold rises or goes, and never marks it. Newer kernels mark and unmark when the number passes the very
/// threshold, and look at it again at every edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    id: RealServerId,
    weight: u32,
    last_weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    active: u32,
    inactive: u32,
    overloaded: bool,
}

/// As what an entry of the connection table counts at its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// TCP that is established or about to be, SCTP that is established.
    Active,
    /// Everything else; every connection begins so.
    Inactive,
    /// A persistence template is no connection.
    Template,
}

impl Server {
    /// A server without connections.
    pub const fn new(server: &RealServer) -> Self {
        Self {
            id: server.id,
            weight: server.weight.get(),
            last_weight: server.weight.get(),
            upper_threshold: server.upper_threshold,
            lower_threshold: server.lower_threshold,
            active: 0,
            inactive: 0,
            overloaded: false,
        }
    }

    pub const fn id(&self) -> RealServerId {
        self.id
    }

    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// The last weight that was not 0; 0 if there was none.
    pub const fn last_weight(&self) -> u32 {
        self.last_weight
    }

    pub const fn active(&self) -> u32 {
        self.active
    }

    pub const fn inactive(&self) -> u32 {
        self.inactive
    }

    /// Whether the upper threshold was reached and the lower one not yet.
    pub const fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Whether it takes new connections.
    pub const fn is_usable(&self) -> bool {
        self.weight > 0 && !self.overloaded
    }

    /// What the least-connection schedulers compare. Linux from 6.1.183 and 6.12.104 on has 257 for 256.
    pub fn load(&self) -> u64 {
        (u64::from(self.active) << 8) + u64::from(self.inactive)
    }

    /// Gives it another weight and other thresholds.
    pub const fn edit(&mut self, server: &RealServer) {
        self.weight = server.weight.get();
        if self.weight != 0 {
            self.last_weight = self.weight;
        }
        if server.upper_threshold == 0 || server.upper_threshold > self.upper_threshold {
            self.overloaded = false;
        }
        self.upper_threshold = server.upper_threshold;
        self.lower_threshold = server.lower_threshold;
    }

    /// A connection or template of this server begins.
    pub fn bind(&mut self, counted: Counted) {
        if let Some(count) = self.count(counted) {
            *count = count.saturating_add(1);
        }
        let upper = u64::from(self.upper_threshold);
        if upper != 0 && self.connections() >= upper {
            self.overloaded = true;
        }
    }

    /// A connection or template of this server ends.
    pub fn unbind(&mut self, counted: Counted) {
        if let Some(count) = self.count(counted) {
            *count = count.saturating_sub(1);
        }
        let (connections, upper) = (self.connections(), u64::from(self.upper_threshold));
        let relieved = match u64::from(self.lower_threshold) {
            0 => upper == 0 || 4 * connections < 3 * upper,
            lower => connections < lower,
        };
        if relieved {
            self.overloaded = false;
        }
    }

    /// A connection counts otherwise from now on. That says nothing of the thresholds.
    pub const fn recount(&mut self, from: Counted, to: Counted) {
        if let Some(count) = self.count(from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.count(to) {
            *count = count.saturating_add(1);
        }
    }

    fn connections(&self) -> u64 {
        u64::from(self.active) + u64::from(self.inactive)
    }

    const fn count(&mut self, counted: Counted) -> Option<&mut u32> {
        match counted {
            Counted::Active => Some(&mut self.active),
            Counted::Inactive => Some(&mut self.inactive),
            Counted::Template => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real_server::{Forwarding, Weight};

    fn settings(weight: i64, upper_threshold: u32, lower_threshold: u32) -> RealServer {
        let id = RealServerId { address: [10, 2, 0, 11].into(), port: 80 };
        let server = RealServer::new(id, Forwarding::Masquerade, Weight::clamped(weight));
        RealServer { upper_threshold, lower_threshold, ..server }
    }

    /// After each of so many connections begins, and then after each of them ends.
    fn marks(server: &mut Server, connections: usize) -> (Vec<bool>, Vec<bool>) {
        let mut after = |step: fn(&mut Server, Counted)| {
            let each = |_| {
                step(server, Counted::Inactive);
                server.is_overloaded()
            };
            (0..connections).map(each).collect()
        };
        (after(Server::bind), after(Server::unbind))
    }

    #[test]
    fn from_the_upper_threshold_to_below_the_lower_a_server_takes_nothing() {
        let (begun, ended) = marks(&mut Server::new(&settings(1, 4, 2)), 5);
        assert_eq!(begun, [false, false, false, true, true]);
        assert_eq!(ended, [true, true, true, false, false]);
    }

    #[test]
    fn without_a_lower_threshold_three_quarters_of_the_upper_are_it() {
        let (begun, ended) = marks(&mut Server::new(&settings(1, 8, 0)), 8);
        assert_eq!(begun, [false, false, false, false, false, false, false, true]);
        assert_eq!(ended, [true, true, false, false, false, false, false, false]);
    }

    #[test]
    fn a_threshold_that_was_passed_before_it_was_set_counts_at_the_next_connection() {
        let mut server = Server::new(&settings(1, 0, 0));
        (0..5).for_each(|_| server.bind(Counted::Inactive));
        server.edit(&settings(1, 2, 0));
        assert!(!server.is_overloaded());
        server.bind(Counted::Template);
        assert!(server.is_overloaded());
        assert_eq!((server.active(), server.inactive()), (0, 5));
    }

    #[test]
    fn a_higher_threshold_or_none_relieves_and_a_lower_does_not() {
        for (upper, overloaded) in [(3, true), (4, true), (5, false), (0, false)] {
            let mut server = Server::new(&settings(1, 4, 0));
            (0..4).for_each(|_| server.bind(Counted::Active));
            server.edit(&settings(1, upper, 0));
            assert_eq!(server.is_overloaded(), overloaded, "{upper}");
        }
    }

    #[test]
    fn the_last_weight_outlives_a_weight_of_zero() {
        let mut server = Server::new(&settings(0, 0, 0));
        let mut after = |weight| {
            server.edit(&settings(weight, 0, 0));
            (server.weight(), server.last_weight())
        };
        assert_eq!([0, 5, 0, 3].map(&mut after), [(0, 0), (5, 5), (0, 5), (3, 3)]);
    }

    #[test]
    fn an_active_connection_weighs_as_256_inactive_ones() {
        let mut server = Server::new(&settings(1, 0, 0));
        server.bind(Counted::Inactive);
        server.bind(Counted::Inactive);
        server.recount(Counted::Inactive, Counted::Active);
        assert_eq!((server.active(), server.inactive(), server.load()), (1, 1, 257));
    }
}

//! How long connections are kept in each of their states.

use std::time::Duration;

use crate::Timeouts;
use crate::engine::state::{SctpState, TcpState};
use crate::engine::wheel::Ticks;
use crate::sync::ConnectionState;

/// Timeouts of all states; by default those of IPVS.
///
/// There is one for the engine. A service that has its own has another one, or overrides some of them with
/// [`of_service`](Self::of_service).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTimeouts {
    tcp: [Ticks; TcpState::ALL.len()],
    sctp: [Ticks; SctpState::ALL.len()],
    udp: Ticks,
}

impl Default for StateTimeouts {
    fn default() -> Self {
        const UDP: Duration = Duration::from_secs(300);
        Self {
            tcp: TcpState::ALL.map(|state| Ticks::of(state.default_timeout())),
            sctp: SctpState::ALL.map(|state| Ticks::of(state.default_timeout())),
            udp: Ticks::of(UDP),
        }
    }
}

impl StateTimeouts {
    /// Without a packet, a connection in this state is kept so long.
    pub fn of(&self, state: ConnectionState) -> Ticks {
        let row: (&[Ticks], usize) = match state {
            ConnectionState::Tcp(state) => (&self.tcp, state.number().into()),
            ConnectionState::Sctp(state) => (&self.sctp, state.number().into()),
            ConnectionState::Udp => return self.udp,
        };
        // There are as many as states.
        row.0.get(row.1).copied().unwrap_or_default()
    }

    /// As [`of`](Self::of), for a service that has its own of these.
    pub fn of_service(&self, state: ConnectionState, own: &Timeouts) -> Ticks {
        of_settings(own, state).map_or_else(|| self.of(state), Ticks::of)
    }

    /// Changes that of one state. Connections notice at their next packet.
    pub fn set_state(&mut self, state: ConnectionState, timeout: Duration) {
        let place = match state {
            ConnectionState::Tcp(state) => self.tcp.get_mut(usize::from(state.number())),
            ConnectionState::Sctp(state) => self.sctp.get_mut(usize::from(state.number())),
            ConnectionState::Udp => Some(&mut self.udp),
        };
        if let Some(place) = place {
            *place = Ticks::of(timeout);
        }
    }

    /// What `ipvsadm --set` does: of TCP it reaches ESTABLISHED and FIN_WAIT, and no other state. What is `None` stays.
    pub fn set(&mut self, timeouts: &Timeouts) {
        for state in SETTABLE {
            if let Some(timeout) = of_settings(timeouts, state) {
                self.set_state(state, timeout);
            }
        }
    }

    /// What `ipvsadm -L --timeout` lists.
    pub fn settings(&self) -> Timeouts {
        let [tcp, tcp_fin, udp] = SETTABLE.map(|state| Some(self.of(state).duration()));
        Timeouts { tcp, tcp_fin, udp }
    }
}

const SETTABLE: [ConnectionState; 3] = [
    ConnectionState::Tcp(TcpState::Established),
    ConnectionState::Tcp(TcpState::FinWait),
    ConnectionState::Udp,
];

const fn of_settings(timeouts: &Timeouts, state: ConnectionState) -> Option<Duration> {
    match state {
        ConnectionState::Tcp(TcpState::Established) => timeouts.tcp,
        ConnectionState::Tcp(TcpState::FinWait) => timeouts.tcp_fin,
        ConnectionState::Udp => timeouts.udp,
        ConnectionState::Tcp(_) | ConnectionState::Sctp(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_states() -> Vec<ConnectionState> {
        let tcp = TcpState::ALL.map(ConnectionState::Tcp);
        let sctp = SctpState::ALL.map(ConnectionState::Sctp);
        [&tcp[..], &sctp, &[ConnectionState::Udp]].concat()
    }

    fn seconds(timeouts: &StateTimeouts) -> Vec<u64> {
        all_states().into_iter().map(|state| timeouts.of(state).duration().as_secs()).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_kernel() {
        let tcp = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];
        let sctp = [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61];
        assert_eq!(seconds(&StateTimeouts::default()), [&tcp[..], &sctp, &[300]].concat());
    }

    #[test]
    fn ipvsadm_sets_three_states_and_no_more() {
        let own = Timeouts {
            tcp: Some(Duration::from_secs(1000)),
            tcp_fin: Some(Duration::from_secs(7)),
            udp: Some(Duration::from_secs(31)),
        };
        let mut timeouts = StateTimeouts::default();
        let before = seconds(&timeouts);
        let mut of_service = Vec::new();
        for state in all_states() {
            of_service.push(timeouts.of_service(state, &own).duration().as_secs());
        }
        timeouts.set(&own);
        assert_eq!(timeouts.settings(), own);
        let changed: Vec<_> =
            before.iter().zip(seconds(&timeouts)).filter(|(before, after)| *before != after).collect();
        assert_eq!(changed, [(&900, 1000), (&120, 7), (&300, 31)]);
        assert_eq!(of_service, seconds(&timeouts));
        timeouts.set(&Timeouts::default());
        assert_eq!(timeouts.settings(), own);
    }

    #[test]
    fn any_state_can_be_set_by_itself() {
        for state in all_states() {
            let mut timeouts = StateTimeouts::default();
            timeouts.set_state(state, Duration::from_secs(77));
            assert_eq!(timeouts.of(state).duration(), Duration::from_secs(77));
            assert_eq!(seconds(&timeouts).iter().filter(|timeout| **timeout == 77).count(), 1);
        }
    }
}

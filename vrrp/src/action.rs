//! What the election wants done. Values, in the order in which they are to be carried out.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::identity::Priority;
use crate::transition::{Cause, PriorityCause, State, Transition};

/// Handle of a virtual router within one [`crate::Election`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouterId(pub(crate) u32);

impl RouterId {
    /// Position in tables that a driver keeps beside the election. Reused after a removal.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the router's advertisement with this priority to every destination.
    Send {
        router: RouterId,
        priority: Priority,
    },
    /// Have the addresses, routes and rules in the kernel.
    Install {
        router: RouterId,
    },
    /// Have them out of the kernel.
    Withdraw {
        router: RouterId,
    },
    /// Give the addresses another lease.
    RenewLease {
        router: RouterId,
    },
    /// So many gratuitous ARPs or unsolicited NAs for each address.
    Announce {
        router: RouterId,
        repeat: u32,
    },
    /// A router changed state, or (without `router`) a group did.
    Report {
        router: Option<RouterId>,
        transition: Transition,
    },
    PriorityChanged {
        router: RouterId,
        from: Priority,
        priority: Priority,
        cause: PriorityCause,
    },
    /// As master we heard a master of lower priority.
    LowerPriorityHeard {
        router: RouterId,
        from: IpAddr,
        priority: Priority,
    },
    /// A second owner showed itself: the ownership hook is to run again. Once per episode.
    Contention {
        router: RouterId,
        sign: ContentionSign,
    },
    /// An address, route or rule that somebody deleted is being put back.
    ItemRestored {
        router: RouterId,
        item: Arc<str>,
    },
    /// This process did not run for so long that an expired timer proved nothing.
    Stalled {
        router: RouterId,
        lateness: Duration,
    },
    /// The router has ended and holds nothing any more; its handle is free.
    Gone {
        router: RouterId,
    },
}

/// What betrayed a second owner of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "sign", rename_all = "snake_case")]
pub enum ContentionSign {
    Advertisement {
        from: IpAddr,
        priority: Priority,
    },
    Claim {
        address: IpAddr,
        mac: [u8; 6],
    },
    /// We did not run for longer than a backup waits.
    OwnStall,
}

/// What one router has to tell the others of its group.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    WantsMaster(RouterId),
    Yielded(RouterId, Cause),
    /// It heard the master that it follows.
    FollowsMaster(RouterId),
    FaultsChanged(RouterId),
    StateChanged(RouterId, State, Cause),
    AnnounceGroup(RouterId),
}

impl Signal {
    pub(crate) fn router(&self) -> RouterId {
        match self {
            Self::WantsMaster(id)
            | Self::Yielded(id, _)
            | Self::FollowsMaster(id)
            | Self::FaultsChanged(id)
            | Self::StateChanged(id, ..)
            | Self::AnnounceGroup(id) => *id,
        }
    }
}

/// Room for actions that is kept when they have been carried out. A takeover of a thousand routers needs half a
/// megabyte, once.
pub(crate) const ACTIONS_KEPT: usize = 256;

/// Where routers leave their actions. Reused, so that steady running does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    actions: VecDeque<Action>,
    signals: VecDeque<Signal>,
}

impl Outbox {
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    pub(crate) fn pop(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions.shrink_to(ACTIONS_KEPT);
        }
        action
    }

    pub(crate) fn pop_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Drops a queued ordinary advertisement: its router is no longer master.
    pub(crate) fn cancel_send(&mut self, id: RouterId) {
        self.actions.retain(|action| {
            !matches!(action, Action::Send { router, priority } if *router == id && *priority != Priority::STOP)
        });
    }
}

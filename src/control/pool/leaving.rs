//! What reloads have removed and what drains still: what a reconciler that starts anew has to know beside the settings.

use std::sync::Arc;
use std::time::Instant;

use buoy_ipvs::RealServerId;

use super::member::{Drain, Member};
use super::{Known, Pool};
use crate::control::service::{Server, Service};

/// The part of a virtual server that drains because a reload has removed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    service: Arc<str>,
    /// There where all of it is removed.
    whole: Option<Arc<Service>>,
    /// With their deadlines.
    servers: Vec<(Server, Option<Instant>)>,
}

impl Leaving {
    pub(in crate::control) fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// As a pool of its own, if it is to be one.
    pub(in crate::control) fn into_pool(mut self, now: Instant) -> Option<Pool> {
        let whole = Arc::unwrap_or_clone(self.whole.take()?);
        let mut pool = Pool::new(Service { servers: Vec::new(), ..whole }.into(), now);
        pool.leaving = true;
        pool.resume(self, now);
        Some(pool)
    }
}

impl Pool {
    /// As operators may mean it.
    pub(in crate::control) fn known(&self) -> Known<'_> {
        let leaving = self.servers.iter().filter(|(_, member)| member.leaving);
        Known {
            settings: &self.settings,
            leaving: self.leaving,
            removed: leaving.map(|(id, _)| *id).collect(),
        }
    }

    pub(in crate::control) fn has_leaving(&self, id: &RealServerId) -> bool {
        self.servers.get(id).is_some_and(|member| member.leaving)
    }

    pub(in crate::control) fn leaving(&self) -> Option<Leaving> {
        let drains = |member: &Member| match member.drain {
            Some(Drain::Running { deadline }) if member.leaving => Some((member.settings.clone(), deadline)),
            Some(_) | None => None,
        };
        let servers: Vec<_> = self.servers.values().filter_map(drains).collect();
        let whole = self.leaving.then(|| self.settings.clone());
        (!servers.is_empty()).then(|| Leaving { service: Arc::clone(&self.settings.name), whole, servers })
    }

    /// Takes back what a pool of this name told.
    pub(in crate::control) fn resume(&mut self, leaving: Leaving, now: Instant) {
        for (server, deadline) in leaving.servers {
            let drain = Some(Drain::Running { deadline });
            let reason = "it passed its checks when it was removed".into();
            self.servers.entry(server.id).or_insert_with(|| Member {
                up: true,
                leaving: true,
                drain,
                reason,
                ..Member::new(server, now)
            });
        }
    }
}

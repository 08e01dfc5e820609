//! Who forwards: the kernel's IPVS or Buoy's own engine, as configured and as this host can.
//!
//! What has been chosen stays: a plane that fails is opened again, and the engine keeps its connections meanwhile.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use buoy_ipvs::io::director::{DirectorError, Setup};
use buoy_ipvs::io::support::Tier;
use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{EngineHandle, EnginePlane, KernelPlane, PlaneError, ServiceId, Timeouts};

use crate::config::plan::{
    EngineNeed, EngineSettings, Forwarding, Plan, Plane, TierChoice, Why, engine_need,
};
use crate::control::detour;

#[derive(Debug, Default)]
pub(super) struct Forwarder(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Forwarding,
    need: Option<EngineNeed>,
    timeouts: BTreeMap<ServiceId, Timeouts>,
    /// Some checks go by way of their services, which the engine does not see: they are this host's own packets.
    checks_by_service: bool,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    why: Why,
    /// `None` where the kernel forwards.
    engine: Option<EnginePlane>,
}

/// Who forwards, for people.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) plane: String,
    pub(super) engine: Option<EngineHandle>,
}

impl Forwarder {
    /// Goes over to a plan that [`objection`](Self::objection) has nothing against.
    pub(super) fn follow(&self, plan: &Plan) {
        let mut state = self.lock();
        state.wanted = plan.balancing.forwarding;
        state.need = engine_need(&plan.services);
        state.timeouts = own_timeouts(plan);
        state.checks_by_service = detour::is_needed(&plan.services);
        if let Some(engine) = state.engine() {
            // Should it not answer, it has ended, and gets them when it is opened anew.
            drop(state.settle(&engine));
        }
    }

    /// Why this plan takes a restart: connections do not move from one plane to the other.
    pub(super) fn objection(&self, plan: &Plan) -> Option<String> {
        let state = self.lock();
        let current = state.current.as_ref()?;
        let (wanted, now) = (&plan.balancing.forwarding, &state.wanted);
        let has_ipvs = !matches!(current.why, Why::NoIpvs);
        let (plane, why) = wanted.plane.resolve(has_ipvs, engine_need(&plan.services));
        let forwards = if current.engine.is_some() { Plane::Engine } else { Plane::Kernel };
        // A file that names what was chosen anyway, or leaves it open, changes nothing.
        let open = matches!(why, Why::HasIpvs | Why::NoIpvs);
        if plane != forwards && !open {
            return Some(format!("another plane takes a restart: {why}"));
        }
        let engine = forwards == Plane::Engine;
        if engine && detour::is_needed(&plan.services) {
            return Some(
                "checks with `check_vip` need the kernel's IPVS, and the engine forwards".to_owned(),
            );
        }
        let same =
            wanted.engine.connections == now.engine.connections && wanted.engine.tier == now.engine.tier;
        (engine && !same)
            .then(|| "`connections` and `tier` of the engine take a restart to change".to_owned())
    }

    /// Opens the plane. The second value is whether it is the kernel's.
    pub(super) fn open(&self) -> Result<(Box<dyn buoy_ipvs::Plane>, bool), PlaneError> {
        let mut state = self.lock();
        if let Some(engine) = state.engine() {
            if engine.condition().is_ok() {
                return Ok((Box::new(engine), false));
            }
            // Its thread has ended, and its connections with it.
            state.current = None;
        }
        let kernel = match state.wanted.plane.resolve(true, state.need.clone()) {
            (Plane::Engine, why) => return state.open_engine(why),
            (Plane::Kernel, why) => KernelPlane::open(ModuleLoading::Allowed).map(|plane| (plane, why)),
        };
        match kernel {
            Ok((plane, why)) => {
                state.chosen(why, None);
                Ok((Box::new(plane), true))
            }
            Err(missing @ PlaneError::Missing { .. }) => {
                match state.wanted.plane.resolve(false, state.need.clone()) {
                    (Plane::Engine, why) => state.open_engine(why),
                    (Plane::Kernel, _) => Err(missing),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn engine(&self) -> Option<EngineHandle> {
        self.lock().engine()
    }

    pub(super) fn told(&self) -> Told {
        let state = self.lock();
        let plane = match &state.current {
            None => "no plane".to_owned(),
            Some(Current { engine: None, .. }) => "kernel IPVS".to_owned(),
            Some(Current { engine: Some(engine), why }) => {
                let tier = match engine.tier() {
                    Tier::Tc => "tc",
                    Tier::Portable => "portable",
                };
                format!("Buoy's engine (tier {tier}; {why})")
            }
        };
        Told { plane, engine: state.engine() }
    }

    /// The end of the engine, if there is one.
    pub(super) fn close(&self) {
        let current = self.lock().current.take();
        drop(current);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn engine(&self) -> Option<EngineHandle> {
        self.current.as_ref()?.engine.as_ref().map(EnginePlane::handle)
    }

    fn open_engine(&mut self, why: Why) -> Result<(Box<dyn buoy_ipvs::Plane>, bool), PlaneError> {
        if self.checks_by_service {
            return Err(PlaneError::Missing {
                what: format!(
                    "checks with `check_vip` need the kernel's IPVS, and the engine is to forward: {why}"
                ),
                cure: "leave `check_vip` out: with the engine it would find every server dead".to_owned(),
            });
        }
        let plane = EnginePlane::open(setup(&self.wanted.engine)).map_err(|error| missing(&error))?;
        let handle = plane.handle();
        self.settle(&handle)?;
        self.chosen(why, Some(plane));
        Ok((Box::new(handle), false))
    }

    fn chosen(&mut self, why: Why, engine: Option<EnginePlane>) {
        if self.current.is_none() {
            let plane = if engine.is_some() { "Buoy's engine" } else { "the kernel's IPVS" };
            tracing::info!("{plane} forwards: {why}");
        }
        self.current = Some(Current { why, engine });
    }

    /// What may change while it runs.
    fn settle(&self, engine: &EngineHandle) -> Result<(), PlaneError> {
        let wanted = self.wanted.engine.settings();
        engine.change_settings(move |settings| {
            let (orphans, sync) = (settings.orphans, settings.sync);
            *settings = buoy_ipvs::engine::process::Settings { orphans, sync, ..wanted };
        })?;
        engine.set_service_timeouts(self.timeouts.clone())
    }
}

fn setup(engine: &EngineSettings) -> Setup {
    Setup {
        settings: engine.settings(),
        connections: engine.connections,
        tier: match engine.tier {
            TierChoice::Auto => None,
            TierChoice::Tc => Some(Tier::Tc),
            TierChoice::Portable => Some(Tier::Portable),
        },
        ..Setup::default()
    }
}

fn own_timeouts(plan: &Plan) -> BTreeMap<ServiceId, Timeouts> {
    let own = plan.services.iter().filter(|server| server.timeouts != Timeouts::default());
    own.flat_map(|server| server.service.members.iter().map(|member| (member.id, server.timeouts))).collect()
}

fn missing(error: &DirectorError) -> PlaneError {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let what = causes
        .fold(format!("the engine cannot work here: {error}"), |text, cause| format!("{text}: {cause}"));
    PlaneError::Missing {
        what,
        cure: "run with CAP_NET_ADMIN and CAP_NET_RAW, and with /dev/net/tun".to_owned(),
    }
}

//! Plans for tests: everything off, to be filled in where a test cares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buoy_ipvs::{Forwarding, RealServerId, Scheduler, ServiceId, VirtualService, Weight};
use buoy_vrrp::{
    Authentication, Cause, ChecksumForm, Family, GarpSchedule, GroupSettings, OldUnicastChecksum, Preempt,
    Priority, RouterSettings, StartState, State, Subject, Transition, Transport, Version, Vrid,
};

use super::ServiceChange;
use crate::config::plan::{
    Balancing, Command, Global, Group, LogFormat, Mail, Notify, Plan, RealServer, Router, Scheduling,
    VirtualServer,
};
use crate::control::{Server, Service};

pub(crate) fn plan() -> Plan {
    Plan {
        global: Global {
            router_id: "director-a".into(),
            net_namespace: None,
            instance: None,
            use_pid_dir: false,
            mail: Mail {
                server: None,
                helo_name: None,
                connect_timeout: Duration::from_secs(30),
                from: "buoy@director-a.example".into(),
                to: Vec::new(),
                no_faults: false,
            },
            notify_fifo: None,
            vrrp_notify_fifo: None,
            fifo_write_states_on_reload: false,
            startup_script: None,
            shutdown_script: None,
            script_user: None,
            enable_script_security: false,
            dynamic_interfaces: false,
            disable_local_igmp: false,
            default_interface: None,
            startup_delay: Duration::ZERO,
            delay_after_boot: Duration::ZERO,
            log_unknown_vrids: false,
            garp_interval: Duration::ZERO,
            gna_interval: Duration::ZERO,
            garp_extra_if: None,
            vmac_prefix: "vrrp".into(),
            vmac_addr_prefix: "vrrp".into(),
            scheduling: Scheduling::default(),
            umask: 0o177,
            child_wait_time: Duration::from_secs(5),
            reload_check_config: None,
            reload_file: None,
            config_save_dir: None,
            rx_buffer: None,
            alert_webhook: Vec::new(),
            config_strict: false,
            log_format: LogFormat::Automatic,
        },
        routers: Vec::new(),
        groups: Vec::new(),
        scripts: Vec::new(),
        files: Vec::new(),
        processes: Vec::new(),
        static_addresses: Vec::new(),
        static_routes: Vec::new(),
        static_rules: Vec::new(),
        track_groups: BTreeMap::new(),
        garp_groups: Vec::new(),
        link_delays: BTreeMap::new(),
        services: Vec::new(),
        balancing: Balancing::default(),
    }
}

pub(crate) fn router(name: &str) -> Router {
    Router {
        election: RouterSettings {
            name: name.into(),
            vrid: Vrid::new(51).expect("not 0"),
            family: Family::V4,
            version: Version::V2,
            priority: Priority::DEFAULT,
            start: StartState::Backup,
            advert_interval: Duration::from_secs(1),
            preempt: Preempt::Yes,
            down_timer_adverts: 3,
            advertised: Vec::new(),
            transport: Transport::Multicast { group: [224, 0, 0, 18].into() },
            authentication: Authentication::None,
            checksum: ChecksumForm::PseudoHeader,
            old_unicast_checksum: OldUnicastChecksum::Automatic,
            strict: false,
            skip_check_adv_addr: false,
            lower_prio_no_advert: false,
            higher_prio_send_advert: false,
            owner_ignore_adverts: false,
            timer_expired_backup: None,
            garp: GarpSchedule {
                repeat: 5,
                delay: Duration::from_secs(5),
                refresh: Duration::ZERO,
                refresh_repeat: 1,
                lower_prio_repeat: 5,
                lower_prio_delay: Duration::from_secs(5),
            },
            vip_lease: None,
            make_before_break: false,
            last_announced: Some(std::net::IpAddr::from([10, 0, 0, 100])),
        },
        interface: Some("eth0".into()),
        vmac: None,
        source: None,
        track_source: false,
        addresses: Vec::new(),
        excluded: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        trackers: Vec::new(),
        dont_track_primary: false,
        promote_secondaries: false,
        accept: true,
        unicast_fault_no_peer: false,
        garp_extra_if: None,
        rx_buffer: None,
        notify: Notify::default(),
        smtp_alert: false,
        notify_priority_changes: false,
        notify_deleted: None,
    }
}

pub(crate) fn group(name: &str) -> Group {
    Group {
        election: GroupSettings { name: name.into(), members: Vec::new(), tracking_weight: false },
        trackers: Vec::new(),
        notify: Notify::default(),
        smtp_alert: false,
    }
}

pub(crate) fn shell(script: &str) -> Command {
    Command { argv: ["sh", "-c", script, "hook"].map(Arc::from).to_vec(), user: None }
}

pub(crate) fn instance(name: &str) -> Subject {
    Subject::Instance(name.into())
}

/// A transition after 12.3 s, with priority 100 for instances.
pub(crate) fn transition(subject: Subject, from: State, to: State, cause: Cause) -> Transition {
    let priority = match subject {
        Subject::Instance(_) => Priority::DEFAULT,
        Subject::Group(_) => Priority::STOP,
    };
    Transition { subject, from, to, cause, priority, lasted: Duration::from_millis(12_300) }
}

/// A virtual server without anything to run, that mails about its quorum and its servers.
pub(crate) fn service(name: &str, id: ServiceId, servers: &[&str]) -> VirtualServer {
    let server = |id: &&str| Server {
        id: real_server(id),
        forwarding: Forwarding::Masquerade,
        weight: Weight::ONE,
        upper_threshold: 0,
        lower_threshold: 0,
        inhibit_on_failure: false,
        alpha: false,
        mark: None,
    };
    let beside = RealServer { notify_up: None, notify_down: None, smtp_alert: true, checks: Vec::new() };
    VirtualServer {
        service: Arc::new(Service {
            name: name.into(),
            members: vec![VirtualService::new(id, Scheduler::Rr)],
            servers: servers.iter().map(server).collect(),
            quorum: 1,
            hysteresis: 0,
            sorry: None,
            panic_threshold: 0,
            drain_deadline: None,
        }),
        servers: vec![beside; servers.len()],
        ha_suspend: false,
        omega: false,
        quorum_up: None,
        quorum_down: None,
        smtp_alert: true,
        timeouts: buoy_ipvs::Timeouts::default(),
    }
}

/// `TCP 10.0.0.1:80`
pub(crate) fn tcp_service(servers: &[&str]) -> VirtualServer {
    let address = [10, 0, 0, 1].into();
    service(
        "TCP 10.0.0.1:80",
        ServiceId::Address { protocol: buoy_ipvs::Protocol::Tcp, address, port: 80 },
        servers,
    )
}

pub(crate) fn real_server(id: &str) -> RealServerId {
    let id: std::net::SocketAddr = id.parse().expect("an address and a port");
    RealServerId { address: id.ip(), port: id.port() }
}

/// Of a server of [`tcp_service`].
pub(crate) fn server_change(server: &str, up: bool, reason: &str) -> ServiceChange {
    ServiceChange { server: Some(real_server(server)), ..quorum(up, reason) }
}

/// Of [`tcp_service`].
pub(crate) fn quorum(up: bool, reason: &str) -> ServiceChange {
    ServiceChange { service: "TCP 10.0.0.1:80".into(), server: None, up, reason: reason.into() }
}

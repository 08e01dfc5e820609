use std::sync::Arc;

use buoy::host::{HostConfig, HostEvent, LinkKind, LinkLocal, VmacSpec};
use buoy_vrrp::Family;

use crate::bench::{Bench, address, addresses, has, in_namespace, ip, sysctl};

fn spec() -> VmacSpec {
    VmacSpec {
        name: "vrrp.51".into(),
        parent: "uplink".into(),
        mac: [0, 0, 0x5e, 0, 1, 51],
        family: Family::V4,
        ipv6: false,
        source: LinkLocal::NotNeeded,
        group: None,
    }
}

fn config(specs: &[VmacSpec]) -> Arc<HostConfig> {
    Arc::new(HostConfig { vmacs: specs.to_vec(), ..HostConfig::default() })
}

fn configured(specs: &[VmacSpec]) -> Bench {
    let mut bench = Bench::new();
    bench.handle.configure(config(specs));
    bench.step();
    bench
}

fn shown() -> String {
    ip("-d link show dev vrrp.51")
}

#[test]
fn a_vmac_is_a_private_macvlan_with_the_virtual_address() {
    in_namespace(|| {
        let mut bench = configured(&[VmacSpec { group: Some(7), ..spec() }]);
        let shown = shown();
        for part in ["vrrp.51@uplink", "macvlan mode private", "00:00:5e:00:01:33", ",UP", "group 7"] {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
        let link = bench.host.links().by_name("vrrp.51").unwrap();
        let parent = bench.host.links().by_name("uplink").unwrap().index;
        assert_eq!(link.kind, LinkKind::Macvlan { parent: Some(parent), mode: 1 });
        bench.step_until(|links, _| links.carries("vrrp.51"));
        ip("link set uplink-far down");
        bench.step_until(|links, _| !links.carries("vrrp.51"));
        bench.stop();
        assert!(!ip("link").contains("vrrp.51"));
    });
}

#[test]
fn an_identical_configuration_leaves_the_vmac_alone() {
    in_namespace(|| {
        let specs = [VmacSpec { family: Family::V6, ipv6: true, source: LinkLocal::OfParent, ..spec() }];
        let mut bench = configured(&specs);
        bench.step();
        bench.handle.configure(config(&specs));
        assert_eq!(bench.changes_of_step(), 0);
        // A restart adopts it.
        drop(bench);
        let mut bench = Bench::new();
        bench.handle.configure(config(&specs));
        assert_eq!(bench.changes_of_step(), 0);
    });
}

#[test]
fn a_wrong_address_mode_or_parent_is_corrected() {
    in_namespace(|| {
        ip("link add link uplink name vrrp.51 type macvlan mode bridge");
        let index = Bench::new().host.links().by_name("vrrp.51").unwrap().index;
        let bench = configured(&[spec()]);
        assert!(shown().contains("macvlan mode private") && shown().contains("00:00:5e:00:01:33"));
        assert_eq!(bench.host.links().by_name("vrrp.51").unwrap().index, index, "it was kept");
        ip("link del vrrp.51");
        ip("link add link second name vrrp.51 type macvlan mode private");
        configured(&[spec()]);
        assert!(shown().contains("vrrp.51@uplink"), "{}", shown());
    });
}

#[test]
fn a_foreign_interface_of_that_name_is_left_alone() {
    in_namespace(|| {
        ip("link add vrrp.51 type bridge");
        let mut bench = configured(&[spec()]);
        bench.stop();
        assert!(shown().contains("bridge"));
    });
}

#[test]
fn a_deleted_vmac_is_recreated_with_its_addresses() {
    in_namespace(|| {
        let mut bench = configured(&[spec()]);
        bench.install("main", addresses([address("10.0.0.1/32", "vrrp.51")]), None);
        assert!(has("vrrp.51", "10.0.0.1/32"));
        ip("link del vrrp.51");
        bench.step();
        assert!(has("vrrp.51", "10.0.0.1/32"));
        assert!(!bench.events().iter().any(|event| matches!(event, HostEvent::ItemLost { .. })));
        // Its parent takes it along, and brings it back.
        ip("link del uplink");
        bench.step();
        assert!(!ip("link").contains("vrrp.51"));
        crate::bench::pair("uplink");
        bench.step();
        assert!(has("vrrp.51", "10.0.0.1/32") && shown().contains(",UP"));
    });
}

#[test]
fn settings_of_vmac_and_parent_are_those_of_a_virtual_router_and_restored() {
    in_namespace(|| {
        let conf = |dev: &str, knob: &str| sysctl(&format!("ipv4/conf/{dev}/{knob}"));
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/second/rp_filter", "2").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/uplink/rp_filter", "0").unwrap();
        let mut bench = configured(&[spec()]);
        let vmac = ["arp_ignore", "accept_local", "rp_filter", "promote_secondaries"]
            .map(|knob| conf("vrrp.51", knob));
        assert_eq!(vmac, ["1", "1", "0", "1"]);
        assert_eq!(
            ["arp_ignore", "arp_filter", "rp_filter"].map(|knob| conf("uplink", knob)),
            ["1", "1", "1"]
        );
        assert_eq!(["all", "second"].map(|dev| conf(dev, "rp_filter")), ["0", "2"]);
        assert_eq!(sysctl("ipv6/conf/vrrp.51/disable_ipv6"), "1");
        bench.stop();
        assert_eq!(
            ["arp_ignore", "arp_filter", "rp_filter"].map(|knob| conf("uplink", knob)),
            ["0", "0", "0"]
        );
        assert_eq!(["all", "second"].map(|dev| conf(dev, "rp_filter")), ["1", "2"]);
    });
}

#[test]
fn an_ipv6_vmac_has_the_link_local_address_of_its_parent_only() {
    in_namespace(|| {
        let six = VmacSpec {
            mac: [0, 0, 0x5e, 0, 2, 51],
            family: Family::V6,
            ipv6: true,
            source: LinkLocal::OfParent,
            ..spec()
        };
        let mut bench = configured(std::slice::from_ref(&six));
        let own = |dev: &str| {
            let shown = ip(&format!("-o -6 addr show dev {dev} scope link"));
            let addresses: Vec<String> =
                shown.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect();
            addresses
        };
        assert_eq!(own("vrrp.51"), own("uplink"));
        assert_eq!(own("vrrp.51").len(), 1);
        bench.handle.configure(config(&[]));
        bench.step();
        assert!(!ip("link").contains("vrrp.51"));
        bench.handle.configure(config(&[VmacSpec {
            source: LinkLocal::Configured("fe80::51".parse().unwrap()),
            ..six
        }]));
        bench.step();
        assert_eq!(own("vrrp.51"), ["fe80::51/64"]);
    });
}

use super::*;

fn claim(vrid: u8, family: Family) -> Claim<'static> {
    Claim {
        vrid: Vrid::new(vrid).unwrap(),
        family,
        ipv6: false,
        source: LinkLocal::NotNeeded,
        prefix: "vrrp",
    }
}

fn names(vmacs: &Vmacs) -> Vec<&str> {
    vmacs.specs().iter().map(|spec| &*spec.name).collect()
}

#[test]
fn a_name_that_is_taken_gives_way_to_the_next_form() {
    let mut vmacs = Vmacs::default();
    for (parent, family) in [
        ("eth0", Family::V4),
        ("eth0", Family::V6),
        ("eth1", Family::V4),
        ("eth1", Family::V6),
        ("eth2", Family::V4),
    ] {
        vmacs.add(&parent.into(), &Vmac::default(), &claim(51, family));
    }
    vmacs.add(&"eth0".into(), &Vmac::default(), &claim(52, Family::V6));
    assert_eq!(names(&vmacs), ["vrrp.51", "vrrp6.51", "vrrp1.51", "vrrp2.51", "vrrp3.51", "vrrp.52"]);
}

#[test]
fn one_vmac_serves_all_addresses_of_a_router_on_an_interface() {
    let mut vmacs = Vmacs::default();
    let named = Vmac { name: Some("vip0".into()), ..Vmac::default() };
    vmacs.add(&"eth0".into(), &named, &claim(51, Family::V4));
    vmacs.add(&"eth0".into(), &Vmac::default(), &claim(51, Family::V4));
    assert_eq!(names(&vmacs), ["vip0"]);
}

#[test]
fn the_address_is_that_of_the_family_and_router() {
    let mut vmacs = Vmacs::default();
    vmacs.add(&"eth0".into(), &Vmac::default(), &claim(51, Family::V4));
    vmacs.add(&"eth0".into(), &Vmac::default(), &claim(255, Family::V6));
    let chosen = Vmac { mac: Some([2, 0, 0, 0, 0, 1]), ..Vmac::default() };
    vmacs.add(&"eth0".into(), &chosen, &claim(9, Family::V4));
    let macs: Vec<[u8; 6]> = vmacs.specs().iter().map(|spec| spec.mac).collect();
    assert_eq!(macs, [[0, 0, 0x5e, 0, 1, 51], [0, 0, 0x5e, 0, 2, 255], [2, 0, 0, 0, 0, 1]]);
    let ipv6: Vec<bool> = vmacs.specs().iter().map(|spec| spec.ipv6).collect();
    assert_eq!(ipv6, [false, true, false]);
}

#[test]
fn a_long_prefix_is_cut_so_that_the_kernel_takes_the_name() {
    let mut vmacs = Vmacs::default();
    let long = Claim { prefix: "a-very-long-prefix", ..claim(200, Family::V4) };
    vmacs.add(&"eth0".into(), &Vmac::default(), &long);
    vmacs.add(&"eth1".into(), &Vmac::default(), &long);
    assert_eq!(names(&vmacs), ["long-prefix.200", "ong-prefix1.200"]);
}

#[test]
fn a_link_local_address_is_made_of_the_hardware_address() {
    let made = link_local_of(&[0x00, 0x0c, 0x29, 0x12, 0x34, 0x56]).unwrap();
    assert_eq!(made.to_string(), "fe80::20c:29ff:fe12:3456");
    assert_eq!(link_local_of(&[]), None);
}

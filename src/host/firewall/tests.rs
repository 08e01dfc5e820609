use super::*;

fn guarded(addresses: &[(&str, &str)]) -> Guarded {
    let mut guarded = Guarded::default();
    for (ip, dev) in addresses {
        guarded.add(&Address::plain(ip.parse().unwrap(), 32, (*dev).into()));
    }
    guarded
}

#[test]
fn without_addresses_the_tables_only_go() {
    let script = guarded(&[]).script();
    let expected =
        "table ip buoy_vrrp\ndelete table ip buoy_vrrp\ntable ip6 buoy_vrrp\ndelete table ip6 buoy_vrrp\n";
    assert_eq!(script, expected);
}

#[test]
fn each_family_has_its_own_table_and_link_local_addresses_their_interface() {
    let four = guarded(&[("10.0.0.1", "eth0"), ("10.0.0.2", "eth0")]).script();
    assert!(four.contains("elements = { 10.0.0.1, 10.0.0.2 }"));
    assert!(!four.contains("icmpv6"));
    let six = guarded(&[("fd00::1", "eth0"), ("fe80::1", "vrrp.51")]).script();
    assert!(six.contains("elements = { fd00::1 }") && six.contains("elements = { fe80::1 . \"vrrp.51\" }"));
    let (accept, drop) = (six.find(NEIGHBOUR_DISCOVERY).unwrap(), six.find("drop").unwrap());
    assert!(accept < drop, "neighbour discovery comes before the drop");
}

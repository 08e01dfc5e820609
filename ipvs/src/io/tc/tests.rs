use super::*;

const NAMES: [(&str, i32); 4] =
    [(program::FLOWS, 3), (program::NEXT_HOPS, 4), (program::SELECTORS, 5), (program::KINDS, 6)];

#[test]
fn both_programs_can_be_assembled() {
    for (side, most) in [(Side::Interface { tap: 7 }, 480), (Side::Tap, 350)] {
        let program = write(side);
        let code = program.assemble(&NAMES).unwrap();
        assert!(code.slots().len() < most, "{side:?}: {} instructions", code.slots().len());
    }
}

#[test]
fn only_the_program_of_interfaces_asks_for_the_engine() {
    let calls = |side| write(side).to_string().matches("call Redirect").count();
    // One for each family; and to the engine, or where the engine says.
    assert_eq!(calls(Side::Interface { tap: 7 }), 3);
    assert_eq!(calls(Side::Tap), 3);
    assert!(write(Side::Interface { tap: 7 }).to_string().contains("r1 = 7\n"));
    assert!(!write(Side::Tap).to_string().contains("map[selectors]"));
}

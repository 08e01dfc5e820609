use proptest::prelude::*;

use super::*;

fn number(slot: &Slot) -> i32 {
    i32::from_ne_bytes([slot[4], slot[5], slot[6], slot[7]])
}

fn offset(slot: &Slot) -> i16 {
    i16::from_ne_bytes([slot[2], slot[3]])
}

#[test]
#[cfg(target_endian = "little")]
fn encoding_is_that_of_the_kernel() {
    let mut program = Assembler::default();
    program
        .load(Size::Word, Register::R7, Register::R1, 76)
        .store(Size::Half, Register::Frame, -4, 0x1234)
        .store(Size::Double, Register::Frame, -16, Register::R9)
        .arithmetic(Operation::ExclusiveOr, Register::R3, 0xffff)
        .atomic_add(Register::R8, 48, Register::R3)
        .jump_if(Condition::NotEqual, Register::R3, Register::R4, "end")
        .push(Instruction::LoadNumber { destination: Register::R5, number: 0x0102_0304_0506_0708 })
        .push(Instruction::LoadMap { destination: Register::R1, map: "flows" })
        .push(Instruction::LoadMapValue { destination: Register::R2, map: "flows" })
        .call(Helper::MapLookup)
        .label("end")
        .exit();
    let code = program.assemble(&[("flows", 5)]).unwrap();
    let expected: [u64; 14] = [
        0x6117_4c00_0000_0000,
        0x6a0a_fcff_3412_0000,
        0x7b9a_f0ff_0000_0000,
        0xa703_0000_ffff_0000,
        0xdb38_3000_0000_0000,
        0x5d43_0700_0000_0000,
        0x1805_0000_0807_0605,
        0x0000_0000_0403_0201,
        0x1811_0000_0500_0000,
        0x0000_0000_0000_0000,
        0x1822_0000_0500_0000,
        0x0000_0000_0000_0000,
        0x8500_0000_0100_0000,
        0x9500_0000_0000_0000,
    ];
    assert_eq!(code.slots(), expected.map(u64::to_be_bytes));
}

#[test]
fn listing_reads_as_what_the_verifier_prints() {
    let mut program = Assembler::default();
    program
        .load(Size::Byte, Register::R3, Register::R7, 23)
        .jump_if(Condition::Equal, Register::R3, 17, "udp")
        .lookup("flows", -40)
        .label("udp")
        .store(Size::Word, Register::Frame, -8, Register::R3)
        .atomic_add(Register::R0, 8, Register::R3)
        .exit();
    let listing = "     0: r3 = *(u8 *)(r7 +23)
     1: if r3 == 17 goto udp
     2: r1 = map[flows]
     4: r2 = fp
     5: r2 += -40
     6: call MapLookup
udp:
     7: *(u32 *)(fp -8) = r3
     8: lock *(u64 *)(r0 +8) += r3
     9: exit
";
    assert_eq!(program.to_string(), listing);
}

#[test]
fn jumps_go_both_ways() {
    let mut program = Assembler::default();
    program
        .label("again")
        .jump_if(Condition::Equal, Register::R1, 0, "out")
        .jump("again")
        .label("out")
        .exit();
    let code = program.assemble(&[]).unwrap();
    assert_eq!(code.slots().iter().map(offset).collect::<Vec<_>>(), [1, -2, 0]);
}

#[test]
fn what_makes_no_sense_is_named() {
    type Write = fn(&mut Assembler);
    let cases: [(Write, AssemblyError); 6] = [
        (
            |p| {
                p.label("a").exit().label("a").exit();
            },
            AssemblyError::DuplicateLabel("a".into()),
        ),
        (
            |p| {
                p.jump("b").exit();
            },
            AssemblyError::UnknownLabel("b".into()),
        ),
        (
            |p| {
                p.jump("c").label("c");
            },
            AssemblyError::NothingBehind("c".into()),
        ),
        (
            |p| {
                p.lookup("d", -4).exit();
            },
            AssemblyError::UnknownMap("d"),
        ),
        (
            |p| {
                p.jump("e");
                for _ in 0..=i16::MAX as usize {
                    p.set(Register::R0, 0);
                }
                p.label("e").exit();
            },
            AssemblyError::TooFar("e".into(), 32_768),
        ),
        (|_| {}, AssemblyError::Empty),
    ];
    for (write, error) in cases {
        let mut program = Assembler::default();
        write(&mut program);
        assert_eq!(program.assemble(&[]), Err(error));
    }
}

fn register() -> impl Strategy<Value = Register> {
    use Register::*;
    prop::sample::select(vec![R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Frame])
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![register().prop_map(Operand::from), any::<i32>().prop_map(Operand::from)]
}

/// Few names, so that some meet.
fn name() -> impl Strategy<Value = Label> {
    (0..6_u8).prop_map(|n| Label::from(format!("l{n}")))
}

fn instruction() -> impl Strategy<Value = Instruction> {
    use Condition::*;
    use Operation::*;
    let operation = prop::sample::select(vec![
        Add,
        Subtract,
        Multiply,
        Divide,
        Or,
        And,
        ShiftLeft,
        ShiftRight,
        Modulo,
        ExclusiveOr,
        Move,
    ]);
    let condition =
        prop::sample::select(vec![Equal, Greater, GreaterOrEqual, AnyBit, NotEqual, Less, LessOrEqual]);
    let size = || prop::sample::select(vec![Size::Byte, Size::Half, Size::Word, Size::Double]);
    let map = prop::sample::select(vec!["flows", "services"]);
    prop_oneof![
        (operation, register(), operand()).prop_map(|(operation, destination, operand)| {
            Instruction::Arithmetic { operation, destination, operand }
        }),
        (size(), register(), register(), any::<i16>()).prop_map(|(size, destination, base, offset)| {
            Instruction::Load { size, destination, base, offset }
        }),
        (size(), register(), any::<i16>(), operand())
            .prop_map(|(size, base, offset, operand)| Instruction::Store { size, base, offset, operand }),
        (register(), any::<i16>(), register()).prop_map(|(base, offset, source)| Instruction::AtomicAdd {
            base,
            offset,
            source
        }),
        name().prop_map(|to| Instruction::Jump { to }),
        (condition, register(), operand(), name())
            .prop_map(|(condition, left, right, to)| Instruction::JumpIf { condition, left, right, to }),
        Just(Instruction::Call(Helper::Redirect)),
        Just(Instruction::Exit),
        (register(), any::<u64>())
            .prop_map(|(destination, number)| Instruction::LoadNumber { destination, number }),
        (register(), map).prop_map(|(destination, map)| Instruction::LoadMap { destination, map }),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        8 => instruction().prop_map(Line::Instruction),
        1 => name().prop_map(Line::Label),
    ]
}

proptest! {
    #[test]
    fn anything_is_assembled_or_refused(lines in prop::collection::vec(line(), 0..80)) {
        let program = Assembler { lines };
        prop_assert_eq!(program.to_string().lines().count(), program.lines.len());
        if let Ok(code) = program.assemble(&[("flows", 7)]) {
            let slots: usize = program.instructions().map(Instruction::slots).sum();
            prop_assert_eq!(code.slots().len(), slots);
            let mut place = 0;
            for instruction in program.instructions() {
                let slot = code.slots()[place];
                if let Some(label) = instruction.target() {
                    let target = program.places().unwrap()[label];
                    prop_assert_eq!(place as i64 + 1 + i64::from(offset(&slot)), target as i64);
                    prop_assert!(target < slots);
                }
                if instruction.map().is_some() {
                    prop_assert_eq!(number(&slot), 7);
                }
                place += instruction.slots();
            }
        }
    }
}

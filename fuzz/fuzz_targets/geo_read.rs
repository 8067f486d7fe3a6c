//! Any bytes: refused, or read, compiled and looked up; never a panic, a hang or unbounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::geo::{Countries, Database, compile, facts};
use rhumb::model::clients::Clients;

fuzz_target!(|bytes: &[u8]| {
    let Ok(database) = Database::read("fuzz", bytes.to_vec()) else { return };
    let (clients, countries) = (Clients::default(), Countries::default());
    let Ok(compiled) = compile(&[&database], &clients, &countries) else { return };
    let table = compiled.table;
    let mut bits = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
    for round in 0..64 {
        for family in Family::BOTH {
            let located = table.lookup(family, bits);
            assert!(located.depth <= family.bits());
            let group = &table.groups()[located.group.index()];
            let address = Prefix::new(family, bits, family.bits()).address();
            let report = facts(&[&database], &clients, &countries, &table, address);
            // An address with IPv4 inside is reported by that.
            assert!(report.looked_up != address || report.group == *group);
        }
        bits = bits.rotate_left(5) ^ round;
    }
});

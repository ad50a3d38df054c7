//! Random trees and lists out of one small alphabet, so that patterns and names meet.

use proptest::prelude::*;
use proptest::sample::select;

/// Names that trees are built of; the odd ones are what lists get wrong.
pub const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"ab",
    b"abc",
    b"ba",
    b"A",
    b"B1",
    b"a.o",
    b"b.o",
    b"x.o~",
    b".h",
    b"a b",
    b" a",
    b"a ",
    b"1",
    b"-",
    b"+ a",
    b"- b",
    b"!",
    b"!a",
    b"#c",
    b";",
    b"[",
    b"]",
    b"[a]",
    b"*",
    b"**",
    b"a*",
    b"?",
    b"\\",
    b"a\\",
    b"\\a",
    b"\xff",
    b"a\xc3\xa9",
    b"\x80b",
    b"a\tb",
    b"a\nb",
    b"\r",
    b"a\r",
    b"\x01",
    b"^",
    b"a-c",
    b":",
    b"...",
    b"~",
    b"\x7f",
    b"\x0b",
    LONG,
];

/// Longer than one word of the matcher has bits.
const LONG: &[u8] = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbccccc";

/// A path of up to eight names; a directory ends in `/`, a link to a directory in `@`.
pub fn entry() -> impl Strategy<Value = Vec<u8>> {
    let plain = select(&NAMES[..8]).prop_map(<[u8]>::to_vec);
    let odd = select(NAMES).prop_map(<[u8]>::to_vec);
    let name = prop_oneof![4 => plain, 1 => odd];
    let depth = prop_oneof![8 => 1..4_usize, 2 => 4..9_usize];
    (depth.prop_flat_map(move |depth| prop::collection::vec(name.clone(), depth)), select(b"  /@".to_vec())).prop_map(
        |(names, kind)| {
            let mut path = names.join(&b'/');
            if kind != b' ' {
                path.push(kind);
            }
            path
        },
    )
}

/// The entries of a tree.
pub fn entries(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(entry(), count)
}

/// A piece of a name in a pattern.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => select(&NAMES[..8]).prop_map(<[u8]>::to_vec),
        3 => select(NAMES).prop_map(|name| name.iter().copied().filter(|byte| *byte != b'\n').collect()),
        2 => Just(b"*".to_vec()),
        1 => Just(b"**".to_vec()),
        1 => Just(b"***".to_vec()),
        2 => Just(b"?".to_vec()),
        2 => class(),
        1 => select(b"ab*?[\\]/\xff".to_vec()).prop_map(|byte| vec![b'\\', byte]),
        1 => (0..LONG.len(), select([&b"*"[..], b"?", b"**", b""].to_vec())).prop_map(|(at, wild)| {
            [&LONG[..at], wild, LONG.get(at + 1..).unwrap_or_default()].concat()
        }),
    ]
}

/// A bracket expression, right or wrong.
fn class() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        4 => select(b"abcABx1.-]^!\\ /~\xc3\x80\xff[:".to_vec()).prop_map(|byte| vec![byte]),
        2 => (select(b"aA0 \x80-\\".to_vec()), select(b"bczZ9~\xff]\\-[".to_vec())).prop_map(|(a, b)| vec![a, b'-', b]),
        2 => select([&b"alnum"[..], b"alpha", b"blank", b"cntrl", b"digit", b"graph", b"lower", b"print", b"punct", b"space",
             b"upper", b"xdigit", b"word", b"", b"alph"].to_vec()).prop_map(|name| [b"[:", name, b":]"].concat()),
        1 => select([&b"[:"[..], b"[:a", b"\\]", b"\\-", b"[:a]", b"\\\\", b"[::]"].to_vec()).prop_map(<[u8]>::to_vec),
    ];
    let open = select([&b"["[..], b"[", b"[!", b"[^", b"[]", b"[!]"].to_vec());
    let close = prop_oneof![9 => Just(&b"]"[..]), 1 => Just(&b""[..])];
    (open, prop::collection::vec(member, 0..4), close)
        .prop_map(|(open, members, close)| [open, &members.concat(), close].concat())
}

/// A pattern with its anchor and its trailing slash.
pub fn pattern() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        3 => select(&NAMES[..8]).prop_map(<[u8]>::to_vec),
        2 => piece(),
        5 => prop::collection::vec(piece(), 2..4).prop_map(|pieces| pieces.concat()),
    ];
    let depth = prop_oneof![6 => Just(1_usize), 4 => Just(2), 2 => Just(3), 1 => 4..7_usize];
    let names = depth.prop_flat_map(move |depth| prop::collection::vec(name.clone(), depth));
    let start = prop_oneof![
        8 => select([&b""[..], b"/", b""].to_vec()),
        1 => select([&b"**/"[..], b"./", b"//", b"*/"].to_vec()),
    ];
    let end = prop_oneof![
        9 => select([&b""[..], b"", b"/"].to_vec()),
        3 => select([&b"/*"[..], b"/**", b"/***"].to_vec()),
        1 => select([&b"//"[..], b"\\"].to_vec()),
    ];
    (start, names, end).prop_map(|(start, names, end)| [start, &names.join(&b'/'), end].concat())
}

/// A line of a list, without its end: mostly rules, sometimes what lists have wrong.
pub fn line() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop_oneof![
        12 => select([&b"- "[..], b"- ", b"+ "].to_vec()),
        2 => Just(&b""[..]),
        1 => select([&b"+"[..], b"-", b" - ", b"-  ", b"+\t", b"! ", b"include "].to_vec()),
    ];
    let odd = select(
        [
            &b"!"[..],
            b"",
            b"# a",
            b"; b",
            b" ",
            b"\t",
            b" # a",
            b"- ",
            b"!a",
            b"! ",
            b"*",
            b"- /*",
            b"- *",
            b"+ */",
            b"a\0b",
            b"\0",
            b"\xef\xbb\xbf- a",
            b"/",
            b"//",
            b"+ /",
            b"-",
            b"+",
        ]
        .to_vec(),
    );
    prop_oneof![
        16 => (prefix, pattern()).prop_map(|(prefix, pattern)| [prefix, &pattern].concat()),
        1 => odd.prop_map(<[u8]>::to_vec),
    ]
}

/// A list: its lines and what ends them.
pub fn list() -> impl Strategy<Value = Vec<u8>> {
    let ending =
        prop_oneof![8 => Just(&b"\n"[..]), 1 => Just(&b"\r\n"[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\n\n"[..])];
    (prop::collection::vec((line(), ending), 2..12), any::<bool>()).prop_map(|(lines, ended)| {
        let mut text: Vec<u8> = lines.iter().flat_map(|(line, ending)| [line, *ending].concat()).collect();
        if !ended {
            text.pop();
        }
        text
    })
}

/// A list such as people write: every line a rule with a prefix, names without oddities.
pub fn tidy_list() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![6 => select(&NAMES[..6]).prop_map(<[u8]>::to_vec), 2 => Just(b"*".to_vec()), 1 => Just(b"**".to_vec()),
        1 => Just(b"a*".to_vec()), 1 => Just(b"*c".to_vec()), 1 => Just(b"[ab]".to_vec()), 1 => Just(b"?".to_vec())];
    let depth = prop_oneof![4 => Just(1_usize), 4 => Just(2), 2 => Just(3)];
    let names = depth.prop_flat_map(move |depth| prop::collection::vec(name.clone(), depth));
    let rule = (
        select([&b"- "[..], b"+ "].to_vec()),
        select([&b""[..], b"/", b"/"].to_vec()),
        names,
        select([&b""[..], b"/", b"/*", b"/***"].to_vec()),
    )
        .prop_map(|(prefix, start, names, end)| [prefix, start, &names.join(&b'/'), end, b"\n"].concat());
    prop::collection::vec(rule, 1..8).prop_map(|rules| rules.concat())
}

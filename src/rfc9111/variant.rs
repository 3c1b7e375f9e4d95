//! What a request says in a field that `Vary` names, normalised as its syntax is known to allow
//! (RFC 9111 §4.1).

use http::{
    HeaderMap, HeaderName,
    header::{
        ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HeaderValue, PROXY_AUTHORIZATION,
    },
};

/// Writes the value of all lines of one field, in a form that requests which match share (§4.1).
pub(super) fn write_value(name: &HeaderName, request: &HeaderMap, out: &mut impl FnMut(&[u8])) {
    let lines = || request.get_all(name).iter();
    if *name == COOKIE {
        // RFC 9113 §8.2.3: HTTP/2 may send a cookie a line, and this joins them.
        write_joined(|| lines().map(HeaderValue::as_bytes), b"; ", out);
    } else if is_credential(name) {
        // Who is asking is never a matter of spaces.
        write_joined(|| lines().map(HeaderValue::as_bytes), b",", out);
    } else if *name == ACCEPT_ENCODING {
        write_lowered(|| lines().flat_map(members), out);
    } else if *name == ACCEPT_LANGUAGE {
        if lines().flat_map(members).is_sorted_by(|one, other| lower(one).le(lower(other))) {
            write_lowered(|| lines().flat_map(members), out);
        } else {
            let mut sorted: Vec<_> = lines().flat_map(members).collect();
            sorted.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
            write_lowered(|| sorted.iter().copied(), out);
        }
    } else {
        write_joined(|| lines().flat_map(members), b",", out);
    }
}

/// Whether a field says who is asking.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || *name == COOKIE || *name == PROXY_AUTHORIZATION
}

/// Writes the length of the joined parts, and then these.
fn write_joined<'a, I: Iterator<Item = &'a [u8]>>(
    parts: impl Fn() -> I,
    separator: &[u8],
    out: &mut impl FnMut(&[u8]),
) {
    write_length(&parts, separator, out);
    write_parts(parts(), separator, out);
}

/// The same of the members of a list, in lower case.
fn write_lowered<'a, I: Iterator<Item = &'a [u8]>>(
    parts: impl Fn() -> I,
    out: &mut impl FnMut(&[u8]),
) {
    write_length(&parts, b",", out);
    write_parts(parts(), b",", &mut lower_case(out));
}

fn write_length<'a, I: Iterator<Item = &'a [u8]>>(
    parts: &impl Fn() -> I,
    separator: &[u8],
    out: &mut impl FnMut(&[u8]),
) {
    let (bytes, count) = parts().fold((0_usize, 0_usize), |(bytes, count), part| {
        (bytes.saturating_add(part.len()), count.saturating_add(1))
    });
    let length = bytes.saturating_add(count.saturating_sub(1).saturating_mul(separator.len()));
    // No head comes near 4 GiB: a server bounds it at kilobytes.
    out(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn write_parts<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    separator: &[u8],
    out: &mut impl FnMut(&[u8]),
) {
    for (at, part) in parts.enumerate() {
        if at > 0 {
            out(separator);
        }
        out(part);
    }
}

/// Passes everything on in lower case.
fn lower_case(out: &mut impl FnMut(&[u8])) -> impl FnMut(&[u8]) {
    |bytes| {
        for chunk in bytes.chunks(64) {
            let mut lowered = [0; 64];
            for (to, from) in lowered.iter_mut().zip(chunk) {
                *to = from.to_ascii_lowercase();
            }
            out(&lowered[..chunk.len()]);
        }
    }
}

fn lower(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(u8::to_ascii_lowercase)
}

/// The members of one line that are not empty, without the spaces around them.
///
/// What stands in quotes is one piece, and so is all that follows a quote without its partner:
/// `"a, b"` and `"a,b"` are two values.
fn members(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let is_comma = move |byte: &u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    };
    line.as_bytes().split(is_comma).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::rows::field;
    use super::super::vary::Names;
    use super::*;

    /// The variant of a request with these lines, for a response that varies on `name`.
    fn variant(name: &'static str, lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Names::from_iter([HeaderName::from_static(name)])
            .write_variant(&field(name, lines), &mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn section_4_1_a_variant_is_length_name_presence_length_value() {
        assert_eq!(variant("foo", &["1, 2"]), *b"\0\x03foo\x01\0\0\0\x031,2");
        assert_eq!(variant("foo", &[""]), *b"\0\x03foo\x01\0\0\0\0");
        assert_eq!(variant("foo", &[]), *b"\0\x03foo\0");
    }

    #[test]
    fn section_4_1_requests_that_mean_the_same_share_a_variant() {
        for (name, one, other) in [
            ("foo", &["1, 2"][..], &["1", "2"][..]),
            ("foo", &["1,2"], &[" 1, 2 "]),
            ("foo", &["1,2"], &["1\t,\t2"]),
            ("foo", &["1,2"], &[",1,, 2,"]),
            ("foo", &["1,2"], &["", "1", "2"]),
            ("foo", &[""], &[" , "]),
            ("foo", &[r#""a, b",c"#], &[r#""a, b" , c"#]),
            ("foo", &[r#""\", b",c"#], &[r#""\", b""#, "c"]),
            ("accept-language", &["en, de"], &["de, en"]),
            ("accept-language", &["en, de"], &["eN, De"]),
            ("accept-language", &["en, fr, de"], &["fr, de, EN"]),
            ("accept-language", &["en, de"], &[" en ,   de"]),
            ("accept-language", &["en-GB;q=0.5, de"], &["DE", "en-gb;Q=0.5"]),
            ("accept-encoding", &["gzip, br"], &["GZIP,Br"]),
            ("cookie", &["a=1; b=2"], &["a=1", "b=2"]),
        ] {
            assert_eq!(variant(name, one), variant(name, other), "{name}: {one:?} {other:?}");
        }
    }

    #[test]
    fn section_4_1_requests_that_differ_do_not() {
        for (name, one, other) in [
            ("foo", &[][..], &[""][..]),
            ("foo", &["1"], &["2"]),
            ("foo", &["1,2"], &["2,1"]),
            ("foo", &["1"], &["1,1"]),
            ("foo", &["a"], &["A"]),
            ("foo", &["1 2"], &["12"]),
            ("foo", &[r#""a, b""#], &[r#""a,b""#]),
            ("foo", &[r#""a, b"#], &[r#""a,b"#]),
            ("foo", &[r#""\", b""#], &[r#""\",b""#]),
            ("accept-encoding", &["gzip, br"], &["br, gzip"]),
            ("accept-language", &["en"], &["en;q=0.5"]),
            ("cookie", &["a=1,b=2"], &["a=1", "b=2"]),
            ("cookie", &["a=1, b"], &["a=1,b"]),
            ("authorization", &["x, y"], &["x,y"]),
        ] {
            assert_ne!(variant(name, one), variant(name, other), "{name}: {one:?} {other:?}");
        }
    }

    #[test]
    fn section_4_1_values_longer_than_a_chunk_are_lowered_whole() {
        // The length is no letter, though some lengths are letters' numbers.
        for length in [65, 90, 200] {
            let long = "X".repeat(length);
            let bytes = variant("accept-encoding", &[&long]);
            let length = u32::try_from(length).unwrap().to_be_bytes();
            assert!(bytes.ends_with(&[&length, long.to_lowercase().as_bytes()].concat()));
        }
    }
}

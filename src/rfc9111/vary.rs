//! Which request fields tell the variants of a response apart (RFC 9111 §4.1).
//!
//! [`Vary`] reads the field; [`Names`] turns the fields that it names into the part of a key that
//! two requests share exactly where one variant may answer both.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName,
    header::{
        ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HeaderValue, PROXY_AUTHORIZATION,
        VARY,
    },
};

/// What the `Vary` lines of a response say.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::VARY};
/// use seawall::rfc9111::vary::Vary;
///
/// let mut response = HeaderMap::new();
/// assert_eq!(Vary::from_fields(&response), Vary::None);
///
/// response.insert(VARY, HeaderValue::from_static("Accept-Encoding, accept"));
/// let Vary::Names(names) = Vary::from_fields(&response) else { panic!("two names") };
/// assert!(names.iter().eq(["accept", "accept-encoding"]));
///
/// response.append(VARY, HeaderValue::from_static("*"));
/// assert_eq!(Vary::from_fields(&response), Vary::Any);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// One response answers every request.
    None,
    /// `*`, or a name that is none: something that no cache sees tells the variants apart.
    Any,
    /// The named request fields tell them apart.
    Names(Names),
}

impl Vary {
    /// Reads every `Vary` line of a response.
    #[must_use]
    pub fn from_fields(response: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for member in line.as_bytes().split(|&byte| byte == b',').map(trimmed) {
                if member.is_empty() {
                    continue;
                }
                // `*` is a token, so it would pass as the name of a field.
                match HeaderName::from_bytes(member) {
                    Ok(name) if member != b"*" => names.push(name),
                    _ => return Self::Any,
                }
            }
        }
        if names.is_empty() { Self::None } else { Self::Names(names.into_iter().collect()) }
    }
}

/// The names in a `Vary`, sorted, each once; cheap to clone.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
/// use seawall::rfc9111::Names;
///
/// let names = Names::from_iter([ACCEPT_LANGUAGE]);
/// let variant = |value| {
///     let request = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(value))]);
///     let mut bytes = Vec::new();
///     names.write_variant(&request, &mut |piece| bytes.extend_from_slice(piece));
///     bytes
/// };
/// assert_eq!(variant("en, de"), variant("EN,de"));
/// assert_ne!(variant("en"), variant("de"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Arc<[HeaderName]>);

impl Names {
    /// How many fields are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no field is named; never so in what [`Vary::from_fields`] returns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter()
    }

    /// Whether a field that says who is asking is among them.
    #[must_use]
    pub fn names_credentials(&self) -> bool {
        self.0.iter().any(is_credential)
    }

    /// Writes what this request says in the named fields, as an encoding without ambiguity.
    ///
    /// Two requests for which the written bytes are equal match (RFC 9111 §4.1). How the bytes are
    /// cut into calls of `out` means nothing. Nothing is allocated, but to sort the members of an
    /// `Accept-Language` that are not.
    pub fn write_variant(&self, request: &HeaderMap, out: &mut impl FnMut(&[u8])) {
        for name in &*self.0 {
            // A `HeaderName` has at most 65,535 bytes.
            out(&u16::try_from(name.as_str().len()).unwrap_or(u16::MAX).to_be_bytes());
            out(name.as_str().as_bytes());
            if request.contains_key(name) {
                out(&[PRESENT]);
                write_value(name, request, out);
            } else {
                out(&[ABSENT]);
            }
        }
    }
}

impl Names {
    /// What follows in a written variant after what the field `name` wrote at its beginning.
    pub(super) fn after<'v>(name: &HeaderName, variant: &'v [u8]) -> Option<&'v [u8]> {
        let written = variant.strip_prefix(&u16::try_from(name.as_str().len()).ok()?.to_be_bytes())?;
        match written.strip_prefix(name.as_str().as_bytes())?.split_first()? {
            (&ABSENT, rest) => Some(rest),
            (_, rest) => {
                let (length, rest) = rest.split_first_chunk()?;
                rest.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)
            }
        }
    }
}

impl FromIterator<HeaderName> for Names {
    fn from_iter<I: IntoIterator<Item = HeaderName>>(names: I) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self(names.into())
    }
}

/// Absent matches absent only: an empty field is something else.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

fn is_credential(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || *name == COOKIE || *name == PROXY_AUTHORIZATION
}

/// §4.1: a field may be normalised in ways that its syntax is known to allow.
fn write_value(name: &HeaderName, request: &HeaderMap, out: &mut impl FnMut(&[u8])) {
    let lines = || request.get_all(name).iter();
    if *name == COOKIE {
        // RFC 9113 §8.2.3: HTTP/2 may send a cookie a line, and this joins them.
        write_joined(|| lines().map(HeaderValue::as_bytes), b"; ", out);
    } else if is_credential(name) {
        // Who is asking is never a matter of spaces.
        write_joined(|| lines().map(HeaderValue::as_bytes), b",", out);
    } else if *name == ACCEPT_ENCODING {
        write_joined(|| lines().flat_map(members), b",", &mut lower_case(out));
    } else if *name == ACCEPT_LANGUAGE {
        let out = &mut lower_case(out);
        if lines().flat_map(members).is_sorted_by(|one, other| lower(one).le(lower(other))) {
            write_joined(|| lines().flat_map(members), b",", out);
        } else {
            let mut sorted: Vec<_> = lines().flat_map(members).collect();
            sorted.sort_unstable_by(|one, other| lower(one).cmp(lower(other)));
            write_joined(|| sorted.iter().copied(), b",", out);
        }
    } else {
        write_joined(|| lines().flat_map(members), b",", out);
    }
}

/// Writes the length of the joined parts, and then these.
fn write_joined<'a, I: Iterator<Item = &'a [u8]>>(
    parts: impl Fn() -> I,
    separator: &[u8],
    out: &mut impl FnMut(&[u8]),
) {
    let (bytes, count) = parts().fold((0_usize, 0_usize), |(bytes, count), part| {
        (bytes.saturating_add(part.len()), count.saturating_add(1))
    });
    let length = bytes.saturating_add(count.saturating_sub(1).saturating_mul(separator.len()));
    // No head comes near 4 GiB: a server bounds it at kilobytes.
    out(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    for (at, part) in parts().enumerate() {
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
    line.as_bytes().split(is_comma).map(trimmed).filter(|member| !member.is_empty())
}

/// Without the spaces and tabs around it (RFC 9110 §5.6.3).
fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vary(lines: &[&'static str]) -> Vary {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(VARY, HeaderValue::from_static(line));
        }
        Vary::from_fields(&fields)
    }

    /// The variant of a request with these lines, for a response that varies on `name`.
    fn variant(name: &'static str, lines: &[&'static str]) -> Vec<u8> {
        let name = HeaderName::from_static(name);
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(&name, HeaderValue::from_static(line));
        }
        let mut bytes = Vec::new();
        Names::from_iter([name])
            .write_variant(&request, &mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn every_line_names_fields() {
        for (lines, expected) in [
            (&["accept"][..], &["accept"][..]),
            (&["Foo, ACCEPT"], &["accept", "foo"]),
            (&["b", "", ", a ,,c\t"], &["a", "b", "c"]),
            (&["a, A", "a"], &["a"]),
        ] {
            let Vary::Names(names) = vary(lines) else { panic!("{lines:?}") };
            assert!(names.iter().eq(expected), "{names:?}");
            assert_eq!(names.len(), expected.len());
            assert!(!names.is_empty());
        }
    }

    #[test]
    fn a_star_anywhere_is_any() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &[", *"],
            &["", "*"],
            &["*, foo"],
            &["foo, *"],
            &["foo", "bar,*"],
        ] {
            assert_eq!(vary(lines), Vary::Any, "{lines:?}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_any() {
        for line in ["foo bar", r#""foo""#, "foo, b@r", "a;b", "foo:"] {
            assert_eq!(vary(&[line]), Vary::Any, "{line}");
        }
    }

    #[test]
    fn nothing_named_is_none() {
        for lines in [&[][..], &[""], &[" ,, "], &["", ","]] {
            assert_eq!(vary(lines), Vary::None, "{lines:?}");
        }
    }

    #[test]
    fn the_order_of_the_names_means_nothing() {
        assert_eq!(vary(&["a, b"]), vary(&["B", "A"]));
        assert_ne!(vary(&["a, b"]), vary(&["a"]));
    }

    #[test]
    fn fields_that_say_who_is_asking_are_known() {
        for (line, expected) in [
            ("cookie", true),
            ("accept, Authorization", true),
            ("proxy-authorization", true),
            ("accept, user-agent", false),
        ] {
            let Vary::Names(names) = vary(&[line]) else { panic!("{line}") };
            assert_eq!(names.names_credentials(), expected, "{line}");
        }
    }

    #[test]
    fn the_encoding_is_length_name_presence_length_value() {
        assert_eq!(variant("foo", &["1, 2"]), *b"\0\x03foo\x01\0\0\0\x031,2");
        assert_eq!(variant("foo", &[""]), *b"\0\x03foo\x01\0\0\0\0");
        assert_eq!(variant("foo", &[]), *b"\0\x03foo\0");
    }

    #[test]
    fn requests_that_mean_the_same_share_a_variant() {
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
    fn requests_that_differ_do_not() {
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
    fn a_value_cannot_pose_as_the_next_field() {
        let names = Names::from_iter(["a", "b"].map(HeaderName::from_static));
        let variant = |a: &'static str, b: &'static str| {
            let mut request = HeaderMap::new();
            request.insert("a", HeaderValue::from_static(a));
            request.insert("b", HeaderValue::from_static(b));
            let mut bytes = Vec::new();
            names.write_variant(&request, &mut |piece| bytes.extend_from_slice(piece));
            bytes
        };
        assert_ne!(variant("1b2", ""), variant("1", "2"));
        assert_ne!(variant("1", ""), variant("", "1"));
    }

    #[test]
    fn values_longer_than_a_chunk_are_lowered_whole() {
        let long = "X".repeat(200);
        let request = HeaderMap::from_iter([(ACCEPT_ENCODING, long.parse().unwrap())]);
        let mut bytes = Vec::new();
        Names::from_iter([ACCEPT_ENCODING])
            .write_variant(&request, &mut |piece| bytes.extend_from_slice(piece));
        assert!(bytes.ends_with(&[&[0, 0, 0, 200], long.to_lowercase().as_bytes()].concat()));
    }
}

//! Which request fields tell the variants of a response apart (RFC 9111 §4.1).
//!
//! [`Vary`] reads the field; [`Names`] turns the fields that it names into the part of a key that
//! two requests share exactly where one variant may answer both.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header::VARY};

use super::variant::{is_credential, write_value};

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
            for member in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
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
        let written =
            variant.strip_prefix(&u16::try_from(name.as_str().len()).ok()?.to_be_bytes())?;
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

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::super::rows::field;
    use super::*;

    fn vary(lines: &[&'static str]) -> Vary {
        Vary::from_fields(&field("vary", lines))
    }

    #[test]
    fn section_4_1_every_line_names_fields() {
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
    fn section_4_1_a_star_anywhere_is_any() {
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
    fn rfc9110_12_5_5_a_name_that_is_none_is_any() {
        for line in ["foo bar", r#""foo""#, "foo, b@r", "a;b", "foo:"] {
            assert_eq!(vary(&[line]), Vary::Any, "{line}");
        }
    }

    #[test]
    fn section_4_1_nothing_named_is_none() {
        for lines in [&[][..], &[""], &[" ,, "], &["", ","]] {
            assert_eq!(vary(lines), Vary::None, "{lines:?}");
        }
    }

    #[test]
    fn section_4_1_the_order_of_the_names_means_nothing() {
        assert_eq!(vary(&["a, b"]), vary(&["B", "A"]));
        assert_ne!(vary(&["a, b"]), vary(&["a"]));
    }

    #[test]
    fn section_4_1_fields_that_say_who_is_asking_are_known() {
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
    fn section_4_1_a_value_cannot_pose_as_the_next_field() {
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
}

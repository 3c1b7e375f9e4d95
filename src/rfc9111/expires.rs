//! The lifetime that Expires names (RFC 9111 §5.3).

use std::time::{Duration, SystemTime};

use http::header::{EXPIRES, HeaderMap};

use super::{date, delta_seconds::LONGEST};

/// From the response's own Date to Expires (§4.2.1); none without Expires.
///
/// §5.3: what is not exactly one date lies in the past.
pub(super) fn expires(
    headers: &HeaderMap,
    date: SystemTime,
    received: SystemTime,
) -> Option<Duration> {
    let mut lines = headers.get_all(EXPIRES).iter();
    let first = lines.next()?;
    let at = date::parse_at(first.as_bytes(), received).filter(|_| lines.next().is_none());
    let left = at.and_then(|at| at.duration_since(date).ok());
    Some(left.unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::super::rows::{field, now, seconds};
    use super::*;

    #[test]
    fn section_5_3_the_lifetime_ends_at_the_one_date_that_expires_names() {
        let minute_ahead = "Sun, 06 Nov 1994 08:50:37 GMT";
        for (lines, left) in [
            (&[][..], None),
            (&[minute_ahead], Some(60)),
            (&["Sunday, 06-Nov-94 08:50:37 GMT"], Some(60)),
            (&["Sun Nov  6 08:50:37 1994"], Some(60)),
            (&["sun, 06 nov 1994 08:50:37 gmt"], Some(60)),
            (&["Sun, 06 Nov 1994 08:49:37 GMT"], Some(0)),
            (&["Sun, 06 Nov 1994 08:49:36 GMT"], Some(0)),
            (&["Fri, 31 Dec 9999 23:59:59 GMT"], Some(1 << 31)),
            // What is not exactly one date lies in the past.
            (&["0"], Some(0)),
            (&["-1"], Some(0)),
            (&[""], Some(0)),
            (&["soon"], Some(0)),
            (&["Sun, 06 Nov 1994 08:50:37 UTC"], Some(0)),
            (&["\"Sun, 06 Nov 1994 08:50:37 GMT\""], Some(0)),
            (&[minute_ahead, minute_ahead], Some(0)),
            (&[minute_ahead, ""], Some(0)),
        ] {
            let read = expires(&field("expires", lines), now(), now());
            assert_eq!(read, left.map(seconds), "{lines:?}");
        }
    }

    #[test]
    fn section_4_2_1_expires_counts_from_date_and_not_from_arrival() {
        let headers = field("expires", &["Sun, 06 Nov 1994 08:50:37 GMT"]);
        for (date, left) in [
            (now() - seconds(3600), 3660),
            (now() - seconds(10), 70),
            (now() + seconds(59), 1),
            (now() + seconds(60), 0),
            (now() + seconds(61), 0),
        ] {
            assert_eq!(expires(&headers, date, now()), Some(seconds(left)), "{date:?}");
        }
    }
}

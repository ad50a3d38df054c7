//! How often one address may ask: a bucket of tokens for each, filled at a steady rate.
//!
//! What is kept is bounded: buckets that are full again say nothing and are dropped, and if there are still too many, all
//! are. A flood from more addresses than that is not one this can stop.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many seconds' worth of requests may come at once.
const BURST_SECONDS: f64 = 4.0;

/// How many addresses are kept in mind.
const ADDRESSES_MAX: usize = 100_000;

pub(super) struct RateLimit {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// A limit; 0 for none.
    pub(super) fn new(per_second: u32) -> RateLimit {
        RateLimit { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Takes one token, or tells after how many seconds there will be one.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let full = self.per_second * BURST_SECONDS;
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
            (bucket.tokens + since * self.per_second).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| filled(bucket) < full);
            // To find only a few full ones, with each new address again, would cost more than it saves.
            if buckets.len() > ADDRESSES_MAX / 2 {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { tokens: full, filled: now });
        let tokens = filled(bucket);
        let granted = tokens >= 1.0;
        *bucket = Bucket { tokens: if granted { tokens - 1.0 } else { tokens }, filled: now };
        if granted { Ok(()) } else { Err(((1.0 - tokens) / self.per_second).ceil().max(1.0) as u64) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_gets_its_burst_then_its_rate_and_others_are_not_concerned() {
        let (limit, start) = (RateLimit::new(10), Instant::now());
        let [one, two]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let granted = |address, now| (0..100).filter(|_| limit.take(address, now).is_ok()).count();
        assert_eq!(granted(one, start), 40);
        assert_eq!(granted(one, start), 0);
        assert_eq!(limit.take(one, start), Err(1));
        assert_eq!(granted(two, start), 40);
        assert_eq!(granted(one, start + Duration::from_secs(1)), 10);
        assert_eq!(granted(one, start + Duration::from_secs(1000)), 40);
        assert!((0..1000).all(|_| RateLimit::new(0).take(one, start).is_ok()));
    }

    #[test]
    fn the_addresses_kept_are_bounded() {
        let (limit, now) = (RateLimit::new(1), Instant::now());
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 10 {
            limit.take(IpAddr::V4(number.into()), now).unwrap();
        }
        assert!(limit.buckets.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}

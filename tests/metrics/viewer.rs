//! Random media sessions as real players produce them, and some that only bad ones do.

use afterplay::event::EventType;
use fastrand::Rng;

/// An event that a player sends.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) kind: EventType,
    pub(crate) at: i64,
    pub(crate) playhead: f64,
    pub(crate) bitrate: Option<i64>,
    pub(crate) dropped: Option<i64>,
    pub(crate) on: Vec<String>,
    pub(crate) off: Vec<String>,
}

/// A session and the length of its content.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) events: Vec<Told>,
    pub(crate) length: i64,
}

struct Viewer {
    rng: Rng,
    now: i64,
    position: f64,
    speed: f64,
    moving: bool,
    heartbeat: i64,
    next_ping: i64,
    dropped: i64,
    session: Session,
}

/// 2026-03-07T18:30:00Z
const START: i64 = 1_772_908_200_000;

const STATES: [&str; 5] = ["fullscreen", "mute", "closedCaptioning", "pictureInPicture", "acme.zoom"];

pub(crate) fn session(seed: u64) -> Session {
    let mut rng = Rng::with_seed(seed);
    let live = rng.u8(..10) < 2;
    let length = if live { 86_400 } else { rng.i64(120..5400) };
    let position = match rng.u8(..4) {
        _ if live => f64::from(rng.i32(0..80_000)) + rng.f64(),
        0 => f64::from(rng.i32(0..100)),
        _ => 0.0,
    };
    let heartbeat = *rng.choice(&[10_000, 10_000, 10_000, 5000, 30_000, 10_007]).unwrap_or(&10_000);
    let speed = *rng.choice(&[1.0, 1.0, 1.0, 1.04, 1.12, 2.0, 0.5]).unwrap_or(&1.0);
    let mut viewer = Viewer {
        now: START + rng.i64(0..1000),
        next_ping: i64::MAX,
        position,
        speed,
        moving: false,
        heartbeat,
        dropped: 0,
        session: Session { events: Vec::new(), length },
        rng,
    };
    viewer.watch();
    viewer.session
}

impl Viewer {
    fn tell(&mut self, kind: EventType) -> &mut Told {
        let told = Told {
            kind,
            at: self.now,
            playhead: self.position,
            bitrate: None,
            dropped: None,
            on: vec![],
            off: vec![],
        };
        self.session.events.push(told);
        // A player needs a moment between two events, and now and then does not take it.
        self.now += if self.rng.u8(..8) == 0 { 1 } else { self.rng.i64(1..40) };
        let last = self.session.events.len() - 1;
        &mut self.session.events[last]
    }

    /// Time passes; the heartbeat goes on.
    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while self.now < until {
            let to = until.min(self.next_ping.max(self.now));
            self.run_to(to);
            if self.now >= self.next_ping {
                self.next_ping = self.now + self.beat();
                let quality = self.rng.u8(..25) == 0;
                let (bitrate, dropped) = (self.rng.i64(500..9000), self.dropped);
                let ping = self.tell(EventType::Ping);
                if quality {
                    (ping.bitrate, ping.dropped) = (Some(bitrate), Some(dropped));
                }
                self.dropped += i64::from(quality);
            }
        }
    }

    fn beat(&mut self) -> i64 {
        self.heartbeat + if self.rng.u8(..3) == 0 { self.rng.i64(-20..300) } else { 0 }
    }

    fn run_to(&mut self, to: i64) {
        if self.moving {
            self.position += (to - self.now) as f64 / 1000.0 * self.speed;
            self.position = self.position.min(self.session.length as f64);
        }
        self.now = to;
    }

    fn play(&mut self) {
        self.tell(EventType::Play);
        self.moving = true;
        if self.next_ping == i64::MAX {
            self.next_ping = self.now + self.heartbeat;
        }
    }

    fn watch(&mut self) {
        self.tell(EventType::SessionStart);
        if self.rng.u8(..3) == 0 {
            self.ads();
        }
        if self.rng.u8(..20) > 0 {
            self.play();
        }
        for _ in 0..self.rng.u8(2..7) {
            let spell =
                if self.rng.u8(..4) == 0 { self.rng.i64(100..3000) } else { self.rng.i64(3000..240_000) };
            self.pass(spell);
            self.happening();
            if self.position >= self.session.length as f64 {
                break;
            }
        }
        match self.rng.u8(..6) {
            0 => {}
            1 => drop(self.tell(EventType::SessionEnd)),
            2 => {
                self.tell(EventType::SessionComplete);
                self.pass(15_000);
                self.tell(EventType::SessionEnd);
            }
            _ => drop(self.tell(EventType::SessionComplete)),
        }
    }

    fn happening(&mut self) {
        use EventType as T;
        match self.rng.u8(..18) {
            0 | 1 => self.interrupt(T::PauseStart, 400_000),
            2 => self.interrupt(T::BufferStart, 8000),
            3 => self.seek(true),
            4 | 5 => self.seek(false),
            6 | 7 => self.stall(),
            8 | 9 => self.ads(),
            10 => drop(self.tell(T::ChapterStart)),
            11 => drop(self.tell(T::ChapterComplete)),
            12 | 13 => self.toggle(),
            14 => drop(self.tell(T::Error)),
            15 => {
                let bitrate = self.rng.i64(500..9000);
                self.tell(T::BitrateChange).bitrate = Some(bitrate);
            }
            // The device slept, or its clock was set.
            16 => self.now += self.rng.i64(1000..1_500_000),
            _ => self.flurry(),
        }
    }

    fn interrupt(&mut self, kind: EventType, most: i64) {
        self.tell(kind);
        self.moving = false;
        let wait = self.rng.i64(10..most);
        self.pass(wait / 2);
        if self.rng.u8(..4) == 0 {
            self.jump();
        }
        self.pass(wait / 2);
        self.play();
    }

    fn jump(&mut self) {
        let to = self.position + f64::from(self.rng.i32(-300..300));
        self.position = to.clamp(0.0, self.session.length as f64);
    }

    /// A seek, told or not; playback goes on if it was on.
    fn seek(&mut self, told: bool) {
        if told {
            self.tell(EventType::PauseStart);
            self.jump();
            self.now += self.rng.i64(1..1500);
            self.play();
        } else {
            self.jump();
        }
    }

    /// The picture stands still and nobody says so.
    fn stall(&mut self) {
        let was = std::mem::replace(&mut self.moving, false);
        let wait = self.rng.i64(200..60_000);
        self.pass(wait);
        self.moving = was;
    }

    fn ads(&mut self) {
        use EventType as T;
        let inside = self.rng.u8(..12) > 0;
        let (was, heartbeat) = (self.moving, self.heartbeat);
        self.moving = false;
        self.heartbeat = *self.rng.choice(&[1000, 1000, 10_000]).unwrap_or(&1000);
        self.next_ping = self.now + self.heartbeat;
        if inside {
            self.tell(T::AdBreakStart);
        }
        for _ in 0..self.rng.u8(1..3) {
            self.tell(T::AdStart);
            if self.rng.bool() {
                self.tell(T::Play);
            }
            let lasts = self.rng.i64(2000..30_000);
            self.pass(lasts);
            match self.rng.u8(..10) {
                0 => {}
                1 => drop(self.tell(T::AdSkip)),
                _ => drop(self.tell(T::AdComplete)),
            }
        }
        if inside && self.rng.u8(..10) > 0 {
            self.tell(T::AdBreakComplete);
        }
        (self.moving, self.heartbeat) = (was, heartbeat);
        self.next_ping = self.now + heartbeat;
        if was && self.rng.bool() {
            self.play();
        }
    }

    fn toggle(&mut self) {
        for _ in 0..self.rng.u8(1..4) {
            let mut names: Vec<String> = STATES.iter().map(|name| (*name).to_owned()).collect();
            self.rng.shuffle(&mut names);
            let split = self.rng.usize(1..3);
            let off = if self.rng.bool() { names.split_off(split + 1) } else { vec![] };
            names.truncate(split);
            let update = self.tell(EventType::StatesUpdate);
            (update.on, update.off) = (names, off);
            if !update.off.is_empty() {
                update.off.truncate(1);
            }
            if self.rng.bool() {
                self.now -= self
                    .rng
                    .i64(0..30)
                    .min(self.now - self.session.events[self.session.events.len() - 1].at - 1);
            }
        }
    }

    /// Many events in a moment, pings among them.
    fn flurry(&mut self) {
        for _ in 0..self.rng.u8(1..6) {
            match self.rng.u8(..4) {
                0 => drop(self.tell(EventType::Error)),
                1 => self.play(),
                _ => drop(self.tell(EventType::Ping)),
            }
            let ms = self.rng.i64(1..700);
            self.run_to(self.now + ms);
            if self.rng.u8(..5) == 0 {
                self.position = (self.position - 1.0).max(0.0);
            }
        }
    }
}

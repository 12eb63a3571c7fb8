-- What a schedule says about the turns that it wakes, and each nominal time that has fired as a row of its own.

ALTER TABLE schedules ADD COLUMN effort TEXT;
ALTER TABLE schedules ADD COLUMN retry TEXT;
ALTER TABLE schedules ADD COLUMN deliver TEXT;
ALTER TABLE schedules ADD COLUMN fired_at INTEGER;

CREATE TABLE fires (
    schedule TEXT NOT NULL,
    nominal_at INTEGER NOT NULL,
    PRIMARY KEY (schedule, nominal_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX fire_at ON fires (nominal_at);

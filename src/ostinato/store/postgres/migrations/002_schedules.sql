-- What a schedule says about the turns that it wakes, and each nominal time that has fired as a row of its own.

ALTER TABLE schedules ADD COLUMN effort TEXT COLLATE "C";
ALTER TABLE schedules ADD COLUMN retry TEXT COLLATE "C";
ALTER TABLE schedules ADD COLUMN deliver TEXT COLLATE "C";
ALTER TABLE schedules ADD COLUMN fired_at BIGINT;

CREATE TABLE fires (
    schedule TEXT COLLATE "C" NOT NULL,
    nominal_at BIGINT NOT NULL,
    PRIMARY KEY (schedule, nominal_at)
);

CREATE INDEX fire_at ON fires (nominal_at);

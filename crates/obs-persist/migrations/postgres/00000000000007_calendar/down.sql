DROP FUNCTION obs.drop_day(text, date, timestamptz);

DROP FUNCTION obs.make_day(date);

DROP FUNCTION obs.day_bounds(date);

REVOKE SELECT ON obs.__diesel_schema_migrations FROM PUBLIC;

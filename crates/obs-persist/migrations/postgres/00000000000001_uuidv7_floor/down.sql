DROP FUNCTION obs.uuidv7_floor(timestamptz);

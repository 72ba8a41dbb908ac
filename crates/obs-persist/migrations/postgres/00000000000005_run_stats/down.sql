DROP VIEW obs.run_stats_daily;

DROP VIEW obs.run_stats;

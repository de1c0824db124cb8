DROP TABLE bus_deliveries;
DROP TABLE bus_subscriptions;
DROP TABLE bus_log;
DROP TABLE bus_gate;

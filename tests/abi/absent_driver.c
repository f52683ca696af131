/* Stands for a vendor's driver library: there when the plugin is linked, not where it runs. */
int nacelle_absent_driver_call(void);
int nacelle_absent_driver_call(void) { return 0; }

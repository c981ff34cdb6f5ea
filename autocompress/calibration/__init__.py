"""autocompress.calibration"""

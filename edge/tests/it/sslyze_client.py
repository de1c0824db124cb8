"""What sslyze finds, held against Mozilla's profiles: prints profile to issues.

Usage: sslyze_client.py PORT SERVER_NAME CA_FILE. No issue is an empty object.
"""

import json
import pathlib
import sys

from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

PORT, SERVER_NAME, CA_FILE = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])


def issues(result, profile):
    try:
        check_server_against_tls_configuration(result, MozillaTlsConfiguration.get(profile))
        return {}
    except ServerNotCompliantWithTlsConfiguration as error:
        return error.issues


scanner = Scanner()
request = ServerScanRequest(
    server_location=ServerNetworkLocation("localhost", PORT, ip_address="127.0.0.1"),
    network_configuration=ServerNetworkConfiguration(tls_server_name_indication=SERVER_NAME),
    scan_commands_extra_arguments=ScanCommandsExtraArguments(
        certificate_info=CertificateInfoExtraArgument(custom_ca_file=CA_FILE)
    ),
)
scanner.queue_scans([request])
(found,) = scanner.get_results()
if found.scan_result is None:
    sys.exit(f"no scan: {found.connectivity_error_trace or found.scan_status}")
profiles = {
    "modern": TlsConfigurationEnum.MOZILLA_MODERN,
    "intermediate": TlsConfigurationEnum.MOZILLA_INTERMEDIATE,
}
json.dump({name: issues(found, profile) for name, profile in profiles.items()}, sys.stdout)

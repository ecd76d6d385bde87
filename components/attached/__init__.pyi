from .attached_cluster import AttachedCluster as AttachedCluster
from .attached_cluster import AttachedClusterArgs as AttachedClusterArgs
from .attached_cluster import attach as attach
from .source import SourceSettings as SourceSettings
from .suitability import Wanted as Wanted
